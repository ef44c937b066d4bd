"""Many points in markers of a bounded size, of which those that have changed can be sent alone."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from segvlad_ros.ros.output.conversions import to_time
from segvlad_ros.types import Pose

BLOCK = 200
"""Numbers that share a marker: what a change costs, and with 10,000 keyframes there are 50 markers."""


class PointBlocks:
    """Points by number. A marker holds those of one block of numbers and one frame; the block is the marker's id.

    :param name: of the markers' namespaces, one a frame, which RViz can switch off
    :param look: of :func:`make_marker`
    """

    def __init__(self, name: str, kind: int, size_m: float, colour: ColorRGBA) -> None:
        self._name, self._look = name, {'kind': kind, 'size_m': size_m, 'colour': colour}
        self.clear()

    def clear(self) -> None:
        """Forget all; what was sent has to be deleted by whoever calls this."""
        self._blocks: dict[int, dict[int, tuple[str, list[Point]]]] = defaultdict(dict)
        self._sent: dict[int, set[str]] = {}  # frames by block
        self._changed: set[int] = set()

    def put(self, number: int, poses: Sequence[Pose]) -> None:
        """Give a number the positions of poses of one frame, instead of what it had; none leave it without."""
        block = number // BLOCK
        self._changed.add(block)
        if poses:
            self._blocks[block][number] = poses[0].frame, [make_point(pose) for pose in poses]
        else:
            self._blocks[block].pop(number, None)

    def markers(self, stamp_ns: int, whole: bool) -> list[Marker]:
        """All markers, or those that have changed since the last call, deleted ones included.

        :param whole: all of them, after what was sent before has been deleted
        """
        markers = []
        for block in sorted(self._blocks if whole else self._changed):
            frames: dict[str, list[Point]] = {}
            for _, (frame, points) in sorted(self._blocks[block].items()):
                frames.setdefault(frame, []).extend(points)
            gone = set() if whole else self._sent.get(block, set()) - frames.keys()
            markers += [deleted(self._namespace(frame), block) for frame in sorted(gone)]
            markers += [make_marker(self._namespace(frame), points, frame=frame, stamp_ns=stamp_ns, number=block,
                                    **self._look) for frame, points in frames.items()]
            self._sent[block] = set(frames)
            if not frames:
                del self._blocks[block], self._sent[block]
        self._changed.clear()
        return markers

    def _namespace(self, frame: str) -> str:
        return f'{self._name} in {frame}'


def make_point(pose: Pose) -> Point:
    """The position of a pose."""
    x, y, z = map(float, pose.translation)
    return Point(x=x, y=y, z=z)


def make_marker(namespace: str, points: list[Point], *, kind: int, frame: str, stamp_ns: int, size_m: float,
                colour: ColorRGBA, number: int = 0) -> Marker:
    """A marker of points, which are positions in ``frame``."""
    # locked to its frame: it moves with a correction of TF, and who comes late needs no TF of an old stamp
    marker = Marker(ns=namespace, id=number, type=kind, action=Marker.ADD, points=points, color=colour,
                    frame_locked=True)
    marker.header.frame_id, marker.header.stamp = frame, to_time(stamp_ns)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = size_m
    return marker


def deleted(namespace: str, number: int) -> Marker:
    """What takes a marker away."""
    return Marker(ns=namespace, id=number, action=Marker.DELETE)


class SentMarkers:
    """Markers that are sent as a whole each time: a few, of which some go."""

    def __init__(self) -> None:
        self._sent: set[tuple[str, int]] = set()

    def update(self, markers: list[Marker]) -> list[Any]:
        """These, and what deletes the ones that were sent before and are none of these."""
        keys = {(marker.ns, marker.id) for marker in markers}
        gone, self._sent = sorted(self._sent - keys), keys
        return [*(deleted(*key) for key in gone), *markers]
