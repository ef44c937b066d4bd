"""The sections of a preset that decide: retrieval, vote, and what makes a candidate a match."""
from __future__ import annotations

from dataclasses import dataclass

from segvlad_ros.pipeline.settings import setting


@dataclass(frozen=True)
class SearchSettings:
    """:ivar neighbours: map segments retrieved for every query segment"""

    neighbours: int = setting(50, low=1, high=1000)


@dataclass(frozen=True)
class VoteSettings:
    """:ivar floor: cosine similarity below which a segment has no vote; a vote's weight grows from 0 there to 1"""

    floor: float = setting(0.0, low=-1.0, high=0.99)


@dataclass(frozen=True)
class DecisionSettings:
    """When the best candidate is believed.

    :ivar min_score: score from which a candidate is a match
    :ivar min_verified_score: likewise, of a candidate that geometry proves
    :ivar min_probability: calibrated probability from which a candidate is a match; 0 asks for none
    :ivar max_ambiguity: largest score elsewhere in the map, as a share of the candidate's score
    :ivar agreement: consecutive keyframes whose candidates must lie together; 1 asks for none
    :ivar agreement_verified: likewise, of a candidate that geometry proves; with a metric pose that odometry expects
        nothing more is asked for
    :ivar misses: keyframes between those that agree, which find nothing or something else
    :ivar covisible_keyframes: keyframes of one session so close in sequence show the same place
    :ivar covisible_distance_m: keyframes of one session so close in odometry show the same place, metres
    """

    min_score: float = setting(low=0.0, high=1.0)
    max_ambiguity: float = setting(low=0.0, high=1.0)
    agreement: int = setting(3, low=1, high=20)
    agreement_verified: int = setting(2, low=1, high=20)
    misses: int = setting(1, low=0, high=10)
    min_verified_score: float = setting(0.1, low=0.0, high=1.0)
    min_probability: float = setting(0.0, low=0.0, high=1.0)
    covisible_keyframes: int = setting(5, low=1, high=1000)
    covisible_distance_m: float = setting(2.5, low=0.0)


@dataclass(frozen=True)
class GeometrySettings:
    """Geometric verification; its thresholds are in :class:`segvlad_ros.recognition.geometry.GeometrySettings`.

    :ivar candidates: best candidates of a query that are tested; 0 turns geometry off
    :ivar max_keypoints: kept of an image, 140 bytes each; 0 keeps none
    """

    candidates: int = setting(3, low=0, high=20)
    max_keypoints: int = setting(500, low=0, high=5000)


@dataclass(frozen=True)
class OdometrySettings:
    """How far odometry may be wrong, as standard deviations; three of them refute a match.

    :ivar heading_drift_deg_per_m: degrees of heading a metre
    :ivar position_drift: metres a metre
    """

    heading_drift_deg_per_m: float = setting(0.5, low=0.0, high=90.0)
    position_drift: float = setting(0.05, low=0.0, high=1.0)


@dataclass(frozen=True)
class ExcludeSettings:
    """What is too recent to be a loop closure: keyframes of the query's own session.

    :ivar time_s: younger than this, seconds
    :ivar distance_m: less than this travelled since, metres (where odometry is known)
    """

    time_s: float = setting(30.0, low=0.0)
    distance_m: float = setting(5.0, low=0.0)


@dataclass(frozen=True)
class RecognitionSettings:
    """What the recogniser is given of a preset; none of it changes a descriptor."""

    search: SearchSettings
    vote: VoteSettings
    decision: DecisionSettings
    geometry: GeometrySettings
    odometry: OdometrySettings
    exclude: ExcludeSettings
