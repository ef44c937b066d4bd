"""The sections of a preset that decide: retrieval, vote, and what makes a candidate a match."""
from __future__ import annotations

from dataclasses import dataclass

from segvlad_ros.mapping.odometry import OdometrySettings
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.recognition.decision import DecisionSettings
from segvlad_ros.settings import setting
from segvlad_ros.verification.verify import VerificationSettings


@dataclass(frozen=True)
class SearchSettings:
    """:ivar neighbours: map segments retrieved for every query segment"""

    neighbours: int = setting(50, low=1, high=1000)


@dataclass(frozen=True)
class VoteSettings:
    """:ivar floor: cosine similarity below which a segment has no vote; a vote's weight grows from 0 there to 1"""

    floor: float = setting(0.0, low=-1.0, high=0.99)


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
    places: PlaceSettings
    decision: DecisionSettings
    geometry: VerificationSettings
    odometry: OdometrySettings
    exclude: ExcludeSettings
