"""A described frame, and what tells it from all others."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from segvlad_ros.types.frame import CameraModel, OptimizedPose, Pose
from segvlad_ros.types.place_description import PlaceDescription


class SessionKey(NamedTuple):
    """One run of one robot."""

    robot_id: int
    session_id: str


class KeyframeKey(NamedTuple):
    """What tells a keyframe from all others."""

    robot_id: int
    session_id: str
    index: int


@dataclass(frozen=True, order=True)
class KeyframeId:
    """Identity of a keyframe (msg/KeyframeId): index counts from 1 within (robot, session) and is never reused."""

    robot_id: int
    session_id: str
    index: int
    stamp_ns: int
    camera: str = ''

    @property
    def key(self) -> KeyframeKey:
        """Itself, without what is only known of it."""
        return KeyframeKey(self.robot_id, self.session_id, self.index)

    @property
    def session(self) -> SessionKey:
        """The run that it is of."""
        return SessionKey(self.robot_id, self.session_id)


FIXED_FRAMES = ('map', 'earth')
"""Frames of REP 105 that are the same in each session."""


@dataclass(frozen=True)
class Keyframe:
    """A described frame: all that the map stores and that a second node needs.

    :ivar pose: of the base by odometry, as measured
    :ivar thumbnail: JPEG bytes, b'' if none
    :ivar optimized: of the base, as a SLAM back-end has corrected it; None where it has not
    """

    id: KeyframeId
    description: PlaceDescription
    frame_id: str = ''
    pose: Pose | None = None
    camera_model: CameraModel | None = None
    base_from_camera: Pose | None = None
    thumbnail: bytes = b''
    optimized: OptimizedPose | None = None

    @property
    def best_pose(self) -> Pose | None:
        """Where it is as far as anybody knows: the optimised pose, else the measured one; its frame says which."""
        return self.pose if self.optimized is None else self.optimized.map_from_base

    def pose_for(self, asking: KeyframeId) -> Pose | None:
        """:attr:`best_pose` as it may be told to the session of another keyframe.

        Odometry begins anew in each session, and mostly under the same name: what another session has measured is in a
        frame that is named after that session, too, and not in the frame of that name today. A frame that is called as
        REP 105 calls fixed ones is taken at its word.
        """
        pose = self.best_pose
        own = self.id.session == asking.session
        if pose is None or own or self.optimized is not None or pose.frame in ('', *FIXED_FRAMES):
            return pose
        return replace(pose, frame=f'{pose.frame}/{self.id.session_id}')
