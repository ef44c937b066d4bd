"""Nodes of RTAB-Map by stamp.

RTAB-Map makes nodes of its own images, one a second by default. Where a keyframe has no node of its own stamp, the
nearest one stands for it and odometry moves the pose.
"""
from __future__ import annotations

import bisect
import logging
from dataclasses import dataclass
from typing import Any

from segvlad_ros.geometry import identity, is_one_body, relative, same_frame
from segvlad_ros.io.odometry_pieces import OdometryPieces
from segvlad_ros.ros.output.conversions import from_time
from segvlad_ros.types import Pose, SegvladError

logger = logging.getLogger(__name__)

SAME_NS = 1000  # rtabmap_msgs/Node.stamp is a float64 of seconds: it is off by up to 0.24 microseconds
ODOMETRY_STEP_NS = 200_000_000
ODOMETRY_LATE_NS = 10**9  # best effort, over a network
ODOMETRY_POSES = 100_000  # 5.5 hours
ODOMETRY_GAP_S = 0.5


@dataclass(frozen=True)
class Located:
    """A keyframe in RTAB-Map's graph.

    :ivar node_from_keyframe: pose of the base at the keyframe's stamp in the base at the node's
    """

    node_id: int
    node_from_keyframe: Pose


class RtabmapNodes:
    """Finds nodes by stamp. Not thread-safe.

    ``Info`` has both exactly: its stamp is that of the image, and ``ref_id`` the node that was made of it; ``wm_state``
    names the nodes in memory, which is what ``add_link`` demands, and leaves out a node that was dropped again because
    the robot had hardly moved. MapData tells the nodes of a database that was loaded. Ids grow while RTAB-Map runs:
    those of earlier runs are lower.

    :param max_difference_s: largest difference of the stamps of a keyframe and of the node that stands for it
    """

    def __init__(self, max_difference_s: float) -> None:
        self._max_difference_ns = round(max_difference_s * 1e9)
        self._stamps: dict[int, int] = {}
        self._first_id = self._first_ns = 0  # of this run of RTAB-Map and its clock, as far as it was seen
        self._last_id = self._last_ns = 0
        self._alive: frozenset[int] = frozenset()
        self._sorted: list[tuple[int, int]] | None = None  # stamp and id of those alive, until they change
        self._odometry = OdometryPieces(ODOMETRY_POSES, ODOMETRY_GAP_S)
        self._last_odometry_ns = 0
        self._warned = False

    def add_info(self, info: Any) -> bool:
        """Take a rtabmap_msgs/Info, published after each image that was processed.

        :return: whether RTAB-Map or its clock has begun anew: what was known before is forgotten
        """
        node_id, stamp_ns = info.ref_id, from_time(info.header.stamp)
        clock_anew, rtabmap_anew = stamp_ns < self._last_ns, 0 < node_id < self._last_id
        if clock_anew or rtabmap_anew:
            self._stamps.clear()
        if clock_anew or rtabmap_anew or not self._last_id:
            self._begin(node_id or self._last_id + 1, 0 if clock_anew else stamp_ns)
        self._last_id, self._last_ns = node_id or self._last_id, stamp_ns
        self._alive, self._sorted = frozenset(info.wm_state), None
        if node_id > 0 and (not self._alive or node_id in self._alive):
            self._stamps[node_id] = stamp_ns
        return clock_anew or rtabmap_anew

    def _begin(self, first_id: int, first_ns: int) -> None:
        """Nodes before this one are of the same clock only if their stamps are lower: a simulator's begins at 0."""
        self._first_id, self._first_ns = first_id, first_ns
        self._stamps = {node_id: stamp for node_id, stamp in self._stamps.items() if self._is_of_now(node_id, stamp)}

    def _is_of_now(self, node_id: int, stamp_ns: int) -> bool:
        return node_id >= self._first_id or stamp_ns < self._first_ns

    def add_map(self, data: Any) -> None:
        """Take a rtabmap_msgs/MapData; intermediate nodes (weight -1) take no links."""
        self._sorted = None
        for node in data.nodes:
            stamp_ns = round(node.stamp * 1e9)
            if node.id > 0 and node.weight >= 0 and self._is_of_now(node.id, stamp_ns):
                self._stamps.setdefault(node.id, stamp_ns)

    def add_odometry(self, stamp_ns: int, pose: Pose, child: str = '') -> None:
        """Take a pose; behind a leap (a driver that starts again) nothing is compared with before.

        :param child: frame whose pose it is, '' if the message does not say
        """
        if stamp_ns < self._last_odometry_ns - ODOMETRY_LATE_NS:  # the clock went back: a bag began anew
            self._odometry.clear()
        elif stamp_ns - self._last_odometry_ns < ODOMETRY_STEP_NS:
            return
        self._last_odometry_ns = stamp_ns
        self._odometry.add(stamp_ns, pose, child)

    def is_older(self, stamp_ns: int) -> bool:
        """Whether a keyframe is older than every node in memory that is known."""
        nodes = self._by_stamp()
        return not nodes or stamp_ns < nodes[0][0] - SAME_NS

    def _by_stamp(self) -> list[tuple[int, int]]:
        if self._sorted is None:
            self._sorted = sorted((stamp_ns, node_id) for node_id, stamp_ns in self._stamps.items()
                                  if not self._alive or node_id in self._alive)
        return self._sorted

    def locate(self, stamp_ns: int, base_frame: str = '') -> Located | str:
        """The node that stands for a keyframe, or what is missing.

        :param base_frame: of the keyframe, '' if unknown
        :raises SegvladError: odometry between the two is of another frame
        """
        nodes = self._by_stamp()
        if not nodes:
            return 'RTAB-Map has published no node yet on info'
        after = bisect.bisect_left(nodes, (stamp_ns, 0))
        node_ns, node_id = min(nodes[max(after - 1, 0):after + 1], key=lambda node: abs(node[0] - stamp_ns))
        difference_ns = abs(node_ns - stamp_ns)
        if difference_ns <= SAME_NS:
            return Located(node_id, identity())
        if stamp_ns > max(self._last_ns, nodes[-1][0]):  # while the robot stands, info comes without a node
            return 'RTAB-Map has no node of this time yet'
        if difference_ns > self._max_difference_ns:
            return f'the nearest node in memory, {node_id}, is {difference_ns * 1e-9:.2f} s away'
        ends = self._odometry.at(node_ns), self._odometry.at(stamp_ns)
        if None in ends or ends[0].piece != ends[1].piece:
            return (f'node {node_id} is {difference_ns * 1e-9:.2f} s away, and without unbroken odometry between them '
                    f'it cannot stand for the keyframe')
        self._check_frame(ends[0].child, base_frame)
        return Located(node_id, relative(ends[0].pose, ends[1].pose))

    def _check_frame(self, child: str, base_frame: str) -> None:
        if not is_one_body(child, base_frame):
            raise SegvladError(f'odom is of {child!r}, and the closures are of {base_frame!r}: give the bridge the '
                               f'odometry of {base_frame!r}, or map_builder and localizer base_frame:={child}')
        if not self._warned and child and base_frame and not same_frame(child, base_frame):
            self._warned = True
            logger.warning('odom is of %r, and the closures are of %r: taken as one, which is right on a level floor',
                           child, base_frame)
