"""Whether a keyframe tells a map something that it does not know yet.

A robot on its hundredth lap sees nothing new: what the map explains need not be stored, and the map stops growing.
What looks different, at night or with other furniture, is found with a low score or not at all, and is new by that.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segvlad_ros.geometry import identity, rotation_angle
from segvlad_ros.types import Recognition, SegvladError, Status, Verification


@dataclass(frozen=True)
class NoveltySettings:
    """What counts as explained.

    :ivar explained_score: a keyframe is explained from this score on; lower: fewer keyframes are stored; 0: each is new
    :ivar explained_within_m: from no further away, where geometry has measured how far that is
    :ivar explained_within_rad: and turned by no more
    """

    explained_score: float = 0.0
    explained_within_m: float = 0.75
    explained_within_rad: float = 0.35

    def __post_init__(self):
        if not 0.0 <= self.explained_score <= 1.0 or not (
                self.explained_within_m > 0 and self.explained_within_rad > 0):
            raise SegvladError(f'retention settings {self} are not usable: explained_score is 0 to 1, '
                               'explained_within_m and explained_within_rad above 0')


def explained(answer: Recognition, settings: NoveltySettings) -> str:
    """Why a map needs no keyframe, in words; '' where the keyframe is new to it.

    :param answer: of the recogniser to this keyframe, without what the robot has just seen
    """
    if not settings.explained_score or answer.status != Status.MATCHED:
        return ''
    best = answer.candidates[0]
    if best.verification != Verification.GEOMETRIC or best.score < settings.explained_score:
        return ''
    pose = best.query_pose_in_match
    if pose is not None and (np.linalg.norm(pose.translation) > settings.explained_within_m
                             or rotation_angle(identity(), pose) > settings.explained_within_rad):
        return ''
    return f'keyframe {best.id.index} of session {best.id.session_id!r} explains it with score {best.score:.3f}'
