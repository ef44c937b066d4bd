"""When a frame becomes a keyframe: by header stamps and odometry, never by the wall clock."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from segvlad_ros.geometry import distance, is_finite, rotation_angle
from segvlad_ros.io.stamps import LATE_S
from segvlad_ros.types import Pose, SegvladError


@dataclass(frozen=True)
class GateSettings:
    """How far apart keyframes are.

    :ivar min_interval_s: no keyframe sooner than this after the last one
    :ivar min_distance_m: with odometry, a keyframe after this distance ...
    :ivar min_angle_rad: ... or after this rotation
    :ivar no_odometry_interval_s: without odometry, a keyframe each time this has passed
    """

    min_interval_s: float = 0.5
    min_distance_m: float = 0.5
    min_angle_rad: float = 0.35
    no_odometry_interval_s: float = 1.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value >= 0:
                raise SegvladError(f'keyframe setting {name} is {value}; it must be 0 or more')


@dataclass(frozen=True)
class GateAnswer:
    """Whether a frame becomes a keyframe, and the reason in one word.

    :ivar reason: accepted ``first``, ``moved``, ``turned``, ``interval`` (time, where there is no odometry),
        ``clock_jump`` (the stamps went back: the gate was reset, and the caller clears its own short-term state);
        refused ``too_soon``, ``standing``, ``zero_stamp``, ``out_of_order``
    """

    accept: bool
    reason: str


class KeyframeGate:
    """Decides frame by frame, for one camera. Not thread-safe.

    :param settings: or what gives them, and is asked at each frame, where they change while the robot drives
    """

    def __init__(self, settings: GateSettings | Callable[[], GateSettings] | None = None):
        self._settings = settings if callable(settings) else lambda: settings or GateSettings()
        self.reset()

    def reset(self) -> None:
        """Forget all frames; the next one is a first one."""
        self._newest_ns = 0
        self._keyframe_ns = 0
        self._keyframe_pose: Pose | None = None

    def check(self, stamp_ns: int, pose: Pose | None = None) -> GateAnswer:
        """Decide about the next frame, and take it as the last keyframe if accepted.

        :param stamp_ns: header stamp; 0 is what drivers send that do not know the time
        :param pose: odometry at that stamp, None if unknown
        """
        if stamp_ns <= 0:
            return GateAnswer(False, 'zero_stamp')
        if pose is not None and not is_finite(pose):
            pose = None
        if not self._newest_ns:
            answer = GateAnswer(True, 'first')
        elif stamp_ns < self._newest_ns - round(LATE_S * 1e9):
            answer = GateAnswer(True, 'clock_jump')
        elif stamp_ns <= self._newest_ns:
            return GateAnswer(False, 'out_of_order')
        else:
            answer = GateAnswer(*self._compare(stamp_ns, pose))
        self._newest_ns = stamp_ns
        if answer.accept:
            self._keyframe_ns, self._keyframe_pose = stamp_ns, pose
        return answer

    def _compare(self, stamp_ns: int, pose: Pose | None) -> tuple[bool, str]:
        """Compare a frame with the last keyframe: accept or not, and why."""
        settings, last = self._settings(), self._keyframe_pose
        # whole nanoseconds, so that 30 Hz stamps meet an interval of n/30 s as exactly as they can
        elapsed_ns = stamp_ns - self._keyframe_ns
        if elapsed_ns < round(settings.min_interval_s * 1e9):
            return False, 'too_soon'
        if pose is None or last is None or pose.frame != last.frame:
            enough = elapsed_ns >= round(settings.no_odometry_interval_s * 1e9)
            return enough, 'interval' if enough else 'too_soon'
        if distance(last, pose) >= settings.min_distance_m:
            return True, 'moved'
        if rotation_angle(last, pose) >= settings.min_angle_rad:
            return True, 'turned'
        return False, 'standing'
