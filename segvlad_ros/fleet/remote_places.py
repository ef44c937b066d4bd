"""Which keyframes of a fleet a query shows: the database finds segments, and our own vote is held on their ids."""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from segvlad_ros.fleet.place_database import PlaceDatabase
from segvlad_ros.recognition.voting import vote_online
from segvlad_ros.types import KeyframeId, Pose, SessionKey

NEIGHBOURS = 50
"""Segments that are fetched for every query segment."""


@dataclass(frozen=True)
class RemotePlace:
    """A keyframe of some robot that the query may show.

    :ivar score: mean over query segments of the best clipped vote weight for this keyframe, in [0, 1], as far as its
        segments were among those found
    :ivar matched_segments: query segments that voted for it
    :ivar pose: of that robot, in its own frame, or None
    """

    id: KeyframeId
    score: float
    matched_segments: int
    pose: Pose | None


def find_places(database: PlaceDatabase, descriptors: np.ndarray, floor: float, *, top_k: int = 5,
                neighbours: int = NEIGHBOURS, leave_out: Collection[SessionKey] = ()) -> list[RemotePlace]:
    """The keyframes that are most like a query, the best first.

    Each keyframe is a place of its own: how those of different robots lie to each other is not known here.

    :param descriptors: (M, d) float32 unit rows
    :param floor: cosine at which a vote begins to weigh (the preset's ``vote.floor``)
    :param leave_out: sessions that are not searched
    :raises SegvladError: the database cannot be reached
    """
    found = database.search(descriptors, neighbours, leave_out)
    places = np.arange(len(found.keyframes))
    votes = vote_online(found.similarities, found.owners, places, floor, np.ones(len(places)))
    ranked = votes.ranked_keyframes(places, top_k).tolist()
    facts = database.facts(found.keyframes[entry] for entry in ranked)
    return [RemotePlace(known.id, float(votes.shares[entry]), int(np.count_nonzero(votes.weights(entry))), known.pose)
            for entry in ranked if (known := facts.get(found.keyframes[entry])) is not None]
