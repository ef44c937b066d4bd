"""Joins an image with its camera_info, depth and odometry by stamp; it never waits longer than it was told."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segvlad_ros.io.camera_info import same_calibration
from segvlad_ros.io.odometry_pieces import OdometryPieces, OdometryPose
from segvlad_ros.io.stamps import LATE_S, stamp_ns
from segvlad_ros.ros.input.stamp_cache import StampCache, make_cache
from segvlad_ros.types import Pose

CACHED_MESSAGES = 10  # depth images, masks and camera_infos; a third of a second at 30 Hz, more than an image waits
CACHED_POSES = 1000
TWO_CLOCKS_S = 10.0  # nothing is delayed so long
LATE_NS = round(LATE_S * 1e9)


@dataclass(frozen=True)
class Bundle:
    """One image message and what came with it.

    :ivar image: sensor_msgs Image or CompressedImage
    :ivar received_s: steady time of its receipt, seconds
    :ivar depth, mask, camera_info: messages, or None
    :ivar odometry: interpolated at the image's stamp, or None
    :ivar missing: the inputs that were expected and did not come in time, each with what came instead
    """

    image: Any
    received_s: float
    depth: Any | None = None
    camera_info: Any | None = None
    odometry: OdometryPose | None = None
    missing: tuple[str, ...] = ()
    mask: Any | None = None


@dataclass
class _Waiting:
    image: Any
    received_s: float
    deadline_s: float


class Synchroniser:
    """Holds images until their companions have come or the time is up, and hands them on in order of arrival.

    Depth and mask are the messages nearest in stamp within the tolerance; odometry is interpolated at the image's
    stamp; camera_info is the one nearest in stamp, which is waited for where it came with every image so far, and none
    where it changes around the image, for nobody knows when the lens has moved. An input that nobody publishes is not
    waited for. Not thread-safe: call it from one callback group.

    :param emit: receives each :class:`Bundle`
    :param expected: whether somebody publishes an input: 'depth', 'mask', 'camera_info', 'odom'
    :param now_s: steady clock, seconds
    :param schedule: asks for a call of :meth:`advance` after so many seconds
    :param timeout_s: longest wait of an image
    :param tolerance_s: largest difference of the stamps of an image and of its depth and mask
    :param odom_max_gap_s: longest gap in the odometry that is interpolated
    """

    def __init__(
        self,
        emit: Callable[[Bundle], None],
        *,
        expected: Callable[[str], bool],
        now_s: Callable[[], float],
        schedule: Callable[[float], None],
        timeout_s: float = 0.2,
        tolerance_s: float = 0.02,
        odom_max_gap_s: float = 0.5,
        cache: Callable[[int], StampCache] = make_cache,
    ) -> None:
        self._emit = emit
        self._expected = expected
        self._now_s = now_s
        self._schedule = schedule
        self._timeout_s = timeout_s
        self._tolerance_ns = round(tolerance_s * 1e9)
        self._make_cache = cache
        self._odometry = OdometryPieces(CACHED_POSES, odom_max_gap_s)
        self._waiting: deque[_Waiting] = deque()
        self._last_image_ns = 0
        self._forget()

    def add_image(self, image: Any) -> None:
        """Take an image; it is emitted now or later."""
        stamp = stamp_ns(image)
        if 0 < stamp < self._last_image_ns - LATE_NS:  # the clock jumped back: what we keep is of another time
            while self._waiting:
                self._emit(self._bundle(self._waiting.popleft()))
            self._forget_odometry_after(stamp)
            self._forget()
            self._last_image_ns = stamp
        self._last_image_ns = max(stamp, self._last_image_ns)
        now = self._now_s()
        self._waiting.append(_Waiting(image, now, now + (self._timeout_s if stamp else 0.0)))
        self.advance()

    def add_depth(self, depth: Any) -> None:
        """Take a depth image."""
        self._nearby['depth'].add(depth)
        self.advance()

    def add_mask(self, mask: Any) -> None:
        """Take a mask."""
        self._nearby['mask'].add(mask)
        self.advance()

    def add_camera_info(self, camera_info: Any) -> None:
        """Take a camera_info."""
        self._camera_info.add(camera_info)
        self._newest_info_ns = stamp_ns(camera_info)
        self.advance()

    def add_pose(self, stamp: int, pose: Pose, child: str = '') -> bool:
        """Take a pose of the odometry.

        :param stamp: nanoseconds
        :param child: frame whose pose it is
        :return: whether the odometry has leapt
        """
        self._forget_odometry_after(stamp)
        leapt = self._odometry.add(stamp, pose, child)
        self.advance()
        return leapt

    def _forget_odometry_after(self, stamp: int) -> None:
        """Odometry far ahead of what arrives now is of the time before a jump of the clock."""
        newest = self._odometry.newest_stamp_ns()
        if newest is not None and newest > stamp + LATE_NS:
            self._odometry.clear()

    def _forget(self) -> None:
        self._in_step, self._newest_info_ns = False, 0  # camera_info has come with the last image
        self._nearby = {name: self._make_cache(CACHED_MESSAGES) for name in ('depth', 'mask')}
        self._camera_info = self._make_cache(CACHED_MESSAGES)

    def advance(self) -> None:
        """Hand on what is complete or has waited long enough."""
        while self._waiting:
            head = self._waiting[0]
            left_s = head.deadline_s - self._now_s()
            if left_s > 0 and self._absent(head.image):
                self._schedule(left_s)
                return
            self._emit(self._bundle(self._waiting.popleft()))

    def _absent(self, image: Any) -> tuple[str, ...]:
        """The expected inputs that are not there yet."""
        stamp = stamp_ns(image)
        newest = self._odometry.newest_stamp_ns()
        found = {
            'camera_info': self._camera_info.nearest(stamp) is not None and not (
                self._in_step and self._newest_info_ns < stamp),
            'depth': self._near('depth', stamp) is not None,
            'mask': self._near('mask', stamp) is not None,
            'odom': newest is not None and newest >= stamp,
        }
        return tuple(name for name, there in found.items() if not there and self._expected(name))

    def _near(self, name: str, stamp: int) -> Any | None:
        """The depth image or mask that belongs to an image."""
        found = self._nearby[name].nearest(stamp)
        return found if found is not None and abs(stamp_ns(found) - stamp) <= self._tolerance_ns else None

    def _bundle(self, waited: _Waiting) -> Bundle:
        stamp = stamp_ns(waited.image)
        depth, mask, odometry = self._near('depth', stamp), self._near('mask', stamp), self._odometry.at(stamp)
        camera_info = None if self._changes(stamp) else self._camera_info.nearest(stamp)
        there = {'camera_info': camera_info, 'depth': depth, 'mask': mask, 'odom': odometry}
        self._in_step = camera_info is not None and stamp_ns(camera_info) == stamp
        missing = tuple(name + self._instead(name, stamp) for name, value in there.items()
                        if value is None and self._expected(name))
        return Bundle(waited.image, waited.received_s, depth, camera_info, odometry, missing, mask)

    def _changes(self, stamp: int) -> bool:
        """Whether camera_info says one thing before an image and another one after it."""
        around = self._camera_info.around(stamp)
        return len(around) == 2 and stamp_ns(around[0]) != stamp and not same_calibration(*around)

    def _instead(self, name: str, stamp: int) -> str:
        """How far off the stamps are of what did come, where a delay does not explain it."""
        if name == 'camera_info':
            return ' (which changes just there)' if self._changes(stamp) else ''
        nearest = self._nearby[name].nearest(stamp) if name in self._nearby else None
        other = self._odometry.newest_stamp_ns() if name == 'odom' else None if nearest is None else stamp_ns(nearest)
        off_s = 0.0 if other is None else (other - stamp) * 1e-9
        if abs(off_s) < TWO_CLOCKS_S:
            return ''
        return f" (its stamps are {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} the images': two clocks)"
