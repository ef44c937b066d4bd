"""What a query is answered with."""
from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from segvlad_ros.types.frame import Pose
from segvlad_ros.types.keyframe import KeyframeId


class Status(IntEnum):
    """The answer to one query; values of msg/PlaceMatchArray."""

    MATCHED = 0
    NO_MATCH_LOW_SCORE = 1
    NO_MATCH_AMBIGUOUS = 2
    NO_MATCH_TEMPORAL = 3
    NO_MATCH_GEOMETRIC = 4
    MAP_EMPTY = 5
    MAP_ONLY_RECENT = 6
    QUERY_REJECTED = 7


class Verification(IntEnum):
    """How far a candidate was tested; values of msg/PlaceMatch."""

    UNVERIFIED = 0
    TEMPORAL = 1
    GEOMETRIC = 2
    REJECTED = 3


class SegmentMatch(NamedTuple):  # made by the thousand, and a dataclass takes five times as long to make
    """One query segment and the map segment that voted for the match; similarity is their cosine in [-1, 1]."""

    query_segment: int
    match_segment: int
    similarity: float


@dataclass(frozen=True)
class Candidate:
    """One map keyframe that the query may show.

    :ivar entry: position of the keyframe in the searched map (see ``SegmentIndex``)
    :ivar score: mean weight of the query's segments for this keyframe and for its place, in [0, 1]
    :ivar ambiguity: best score of another place / this score; 0 if there is none, near 1: perceptual aliasing
    :ivar probability: calibrated P(same place) of the first candidate; NaN without a calibration and for the others
    :ivar matched_segments: query segments that voted for this keyframe
    :ivar supporting_queries: consecutive queries that agree, this one included
    :ivar query_pose_in_match: T_match_query in base frames, metric, or None
    :ivar scale_source: 'depth', 'odometry' or '': where the metric scale came from
    """

    entry: int
    id: KeyframeId
    score: float
    ambiguity: float
    matched_segments: int
    probability: float = float('nan')
    supporting_queries: int = 1
    verification: Verification = Verification.UNVERIFIED
    inliers: int = 0
    query_pose_in_match: Pose | None = None
    scale_source: str = ''
    evidence: tuple[SegmentMatch, ...] = ()


@dataclass(frozen=True)
class Recognition:
    """The answer to one query: a status with its reason, and the candidates, best first.

    :ivar timings: seconds by stage name
    :ivar evidence: all that is known of the first candidate (a :class:`segvlad_ros.recognition.evidence.Evidence`);
        None without a candidate
    """

    status: Status
    reason: str
    candidates: tuple[Candidate, ...] = ()
    map_keyframes: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    evidence: object | None = None
