"""Maps as large as one likes, with the statistics of real images: pairs of images that show one place, turned.

A made keyframe is a real one of which the descriptors are turned: an orthonormal transform that is drawn for each made
keyframe, the same for its query. So the query lies to its keyframe exactly as a real query to the place it shows,
segment by segment, and two made keyframes of one real image are no longer alike. The transform leaves the leading
principal directions of real segments as they are, which is what all images have in common, and permutes the others,
with random signs, among directions of about the same variance: what is made has the covariance of what is real. The
number of directions that stay decides how much different places look alike, and so how hard the queries are. The values
of keypoint descriptors are permuted likewise, so that geometry proves a query of its own keyframe and of no other.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from drives import Trial

from segvlad_ros.recognition.voting import vote_weights
from segvlad_ros.types import Keyframe, KeyframeId

# Principal directions that stay as they are, and how many of about the same variance are permuted.
STAY, BLOCK = 64, 16
FLOOR = 0.2  # of a vote, as in the preset
SESSION = 'made'
Pair = tuple[Keyframe, Keyframe]
"""A query, and the keyframe of its place that is most like it."""


def true_pairs(trials: Iterable[Trial]) -> list[Pair]:
    """Of every query that has a place in the map the best keyframe of it."""
    pairs = []
    for trial in trials:
        known = trial.known or trial.queries
        places, truth = [where for _, where in known], list(trial.truths.values())[-1]
        for number, (query, where) in enumerate(trial.queries):
            usable = np.ones(len(known), bool)
            if not trial.known:
                usable[max(number - trial.exclude_frames + 1, 0):] = False
            found = truth(where, places, usable)
            if found is not None and found.true:
                pairs.append((query, max((known[entry][0] for entry in sorted(found.true)),
                                         key=lambda keyframe: likeness(query, keyframe))))
    return pairs


def likeness(query: Keyframe, keyframe: Keyframe) -> float:
    """The score of a keyframe on its own: mean weight of the query's segments."""
    cosines = query.description.descriptors @ keyframe.description.descriptors.T
    return float(vote_weights(cosines.max(axis=1), FLOOR).mean())


class MadeMap:
    """The keyframes and queries of a made map, each by its number, in any order.

    :param pairs: see :func:`true_pairs`
    """

    def __init__(self, pairs: list[Pair], seed: int = 0) -> None:
        self._pairs, self._seed = pairs, seed
        rows = np.concatenate([keyframe.description.descriptors for pair in pairs for keyframe in pair])
        self._axes = np.linalg.eigh(rows.T @ rows)[1][:, ::-1].astype(np.float32)

    @property
    def dimension(self) -> int:
        """Of the descriptors."""
        return len(self._axes)

    def segments(self, number: int) -> int:
        """How many segments a keyframe has."""
        return len(self._real(number, 1)[0].description)

    def keyframe(self, number: int) -> Keyframe:
        """A keyframe of the map, numbered from 0."""
        return self._made(number, 1)

    def query(self, number: int) -> Keyframe:
        """What somebody sees who comes back to where a keyframe was taken."""
        return self._made(number, 0)

    def _made(self, number: int, side: int) -> Keyframe:
        real, rng = self._real(number, side)
        description = real.description
        size = description.descriptors.shape[1]
        order = np.arange(size)
        for first in range(STAY, size, BLOCK):
            order[first:first + BLOCK] = rng.permutation(order[first:first + BLOCK])
        signs = np.where(np.arange(size) < STAY, 1, rng.choice([-1, 1], size)).astype(np.float32)
        rows = np.ascontiguousarray((description.descriptors @ self._axes)[:, order] * signs)  # as they are described
        made = replace(description, descriptors=rows)
        if made.keypoints is not None:
            values = rng.permutation(made.keypoints.descriptors.shape[1])
            made = replace(made, keypoints=replace(made.keypoints, descriptors=made.keypoints.descriptors[:, values]))
        identity = KeyframeId(0, SESSION if side else 'query', number + 1, (number + 1) * 10**9)
        return replace(real, id=identity, description=made, pose=None, optimized=None)

    def _real(self, number: int, side: int) -> tuple[Keyframe, np.random.Generator]:
        rng = np.random.default_rng((self._seed, number))
        return self._pairs[rng.integers(len(self._pairs))][side], rng
