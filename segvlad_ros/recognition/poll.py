"""The vote of a query's segments among the keyframes of the map."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segvlad_ros.mapping.known_keyframes import KnownKeyframes
from segvlad_ros.recognition.voting import Votes, vote_online


def poll(known: KnownKeyframes, rows: np.ndarray, excluded: np.ndarray, weights: np.ndarray, *, neighbours: int,
         floor: float, lap: Callable[[str], None]) -> Votes:
    """One vote a segment and place; a place seen a hundred times must not hide all others, so look past it.

    :param rows: (M, d) float32, the query's segments as the index has them
    :param excluded: (entries,) bool, keyframes without a vote
    :param weights: (entries,) what a vote for each keyframe counts
    :param neighbours: map segments that a segment looks at
    :param floor: cosine from which a vote weighs something
    :param lap: told when a stage, 'search' or 'vote', has ended
    """
    found = known.index.search(rows, neighbours, np.flatnonzero(excluded), known.searched.places)[:2]
    lap('search')
    votes = vote_online(*found, known.searched.places, floor, weights)
    lap('vote')
    if not votes.scores.any():
        return votes
    near = known.searched.around(int(votes.best_keyframes[votes.ranked_places()[0]]))
    full = (found[0][:, -1] > floor) & near[found[1]].all(axis=1)
    if not full.any():
        return votes
    beyond = known.index.search(rows[full], neighbours, np.flatnonzero(excluded | near), known.searched.places)[:2]
    lap('search')
    more = [np.full((len(rows), beyond[0].shape[1]), empty) for empty in (-np.inf, -1)]
    for table, values in zip(more, beyond):
        table[full] = values
    joined = np.hstack([found[0], more[0].astype(np.float32)]), np.hstack([found[1], more[1].astype(np.int64)])
    votes = vote_online(*joined, known.searched.places, floor, weights)
    lap('vote')
    return votes
