"""Which node RTAB-Map made of which image, from what it publishes."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from segvlad_ros.geometry import PoseHistory, identity, relative
from segvlad_ros.ros.output.conversions import from_time
from segvlad_ros.types import Pose

SAME_NS = 1000  # rtabmap_msgs/Node.stamp is a float64 of seconds: it is off by up to 0.24 microseconds
ODOMETRY_STEP_NS = 200_000_000
ODOMETRY_POSES = 100_000  # 5.5 hours
ODOMETRY_GAP_S = 0.5


@dataclass(frozen=True)
class Located:
    """A keyframe in RTAB-Map's graph.

    :ivar node_id: the node that stands for it
    :ivar node_from_keyframe: pose of the base at the keyframe's stamp in the base at the node's
    """

    node_id: int
    node_from_keyframe: Pose


class RtabmapNodes:
    """Finds nodes by stamp. Not thread-safe.

    ``Info`` has both exactly: its stamp is that of the image, and ``ref_id`` the node that was made of it; ``wm_state``
    names the nodes in memory, which is what ``add_link`` demands, and leaves out a node that was dropped again because
    the robot had hardly moved. MapData tells the nodes of a database that was loaded.

    :param max_difference_s: largest difference of the stamps of a keyframe and of the node that stands for it
    """

    def __init__(self, max_difference_s: float) -> None:
        self._max_difference_ns = round(max_difference_s * 1e9)
        self._stamps: dict[int, int] = {}
        self._alive: frozenset[int] = frozenset()
        self._odometry = PoseHistory(ODOMETRY_POSES, ODOMETRY_GAP_S)
        self._last_odometry_ns = 0

    def add_info(self, info: Any) -> None:
        """Take a rtabmap_msgs/Info, published after each image that was processed."""
        self._alive = frozenset(info.wm_state)
        if info.ref_id > 0 and (not self._alive or info.ref_id in self._alive):
            self._stamps[info.ref_id] = from_time(info.header.stamp)

    def add_map(self, data: Any) -> None:
        """Take a rtabmap_msgs/MapData; intermediate nodes (weight -1) take no links."""
        for node in data.nodes:
            if node.id > 0 and node.weight >= 0:
                self._stamps.setdefault(node.id, round(node.stamp * 1e9))

    def add_odometry(self, stamp_ns: int, pose: Pose) -> None:
        """Take a pose of the base, in any frame that does not jump."""
        if stamp_ns < self._last_odometry_ns:  # the clock went back: a bag began anew
            self._odometry.clear()
        elif stamp_ns - self._last_odometry_ns < ODOMETRY_STEP_NS:
            return
        self._last_odometry_ns = stamp_ns
        self._odometry.add(stamp_ns, pose)

    def is_older(self, stamp_ns: int) -> bool:
        """Whether a keyframe is older than every node that is known."""
        return not self._stamps or stamp_ns < min(self._stamps.values()) - SAME_NS

    def locate(self, stamp_ns: int) -> Located | str:
        """The node that stands for a keyframe, or what is missing."""
        known = {node_id: stamp for node_id, stamp in self._stamps.items()
                 if not self._alive or node_id in self._alive}
        if not known:
            return 'RTAB-Map has published no node yet on info'
        nearest = min(known, key=lambda node_id: abs(known[node_id] - stamp_ns))
        difference_ns = abs(known[nearest] - stamp_ns)
        if difference_ns <= SAME_NS:
            return Located(nearest, identity())
        if stamp_ns > max(known.values()):
            return 'RTAB-Map has no node of this time yet'
        if difference_ns > self._max_difference_ns:
            return f'the nearest node in memory, {nearest}, is {difference_ns * 1e-9:.2f} s away'
        poses = self._odometry.at(known[nearest]), self._odometry.at(stamp_ns)
        if None in poses or poses[0].frame != poses[1].frame:
            return (f'node {nearest} is {difference_ns * 1e-9:.2f} s away, and without odometry at both times it '
                    f'cannot stand for the keyframe')
        return Located(nearest, relative(*poses))
