"""Loop closures for RTAB-Map: LoopClosure to the service add_link (rtabmap_msgs/srv/AddLink).

RTAB-Map's link has the pose of ``to`` in ``from``. Its own closures go from the new node to the old one, and when it
localises, ``to`` must be the node of the map: so ``from`` is the query and ``to`` the match, and the transform is the
inverse of ``query_pose_in_match``. ``information`` is the inverse of the covariance in the axes of ``to``, translation
first (its GTSAM and g2o optimisers read it so); 1 where the covariance is unknown, as RTAB-Map asks.

RTAB-Map makes nodes of its own images, one a second by default. Where a keyframe has no node of its own stamp, the
nearest one stands for it and odometry moves the pose. The service's reply is empty: what became of a link is not told.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from nav_msgs.msg import Odometry

from segvlad_ros.geometry import identity, relative, tangent_covariance
from segvlad_ros.geometry import inverse as inverse_pose
from segvlad_ros.io.odometry_pieces import OdometryPieces
from segvlad_ros.msg import LoopClosure
from segvlad_ros.ros.bridges.base_bridge import Bridge, PendingMessages
from segvlad_ros.ros.bridges.relative_poses import compose, information, inverse, match_from_query
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.peer_packages import interfaces
from segvlad_ros.ros.output.conversions import fill_transform, from_odometry, from_time
from segvlad_ros.types import Pose

INSTALL = f'sudo apt install ros-{os.environ.get("ROS_DISTRO", "jazzy")}-rtabmap-msgs'
USER_CLOSURE = 4  # rtabmap::Link::kUserClosure; the message has no constants
SAME_NS = 1000  # rtabmap_msgs/Node.stamp is a float64 of seconds: it is off by up to 0.24 microseconds
ODOMETRY_STEP_NS = 200_000_000
ODOMETRY_POSES = 100_000  # 5.5 hours
ODOMETRY_GAP_S = 0.5


class RtabmapTypes(NamedTuple):
    """The message and service classes of the target."""

    add_link: Any
    get_map: Any
    info: Any


def load_types() -> RtabmapTypes:
    """Import them.

    :raises SegvladError: the package is missing
    """
    return RtabmapTypes(*interfaces('rtabmap_msgs', INSTALL, 'srv/AddLink', 'srv/GetMap2', 'msg/Info'))


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
    the robot had hardly moved. MapData tells the nodes of a database that was loaded.

    :param max_difference_s: largest difference of the stamps of a keyframe and of the node that stands for it
    """

    def __init__(self, max_difference_s: float) -> None:
        self._max_difference_ns = round(max_difference_s * 1e9)
        self._stamps: dict[int, int] = {}
        self._alive: frozenset[int] = frozenset()
        self._odometry = OdometryPieces(ODOMETRY_POSES, ODOMETRY_GAP_S)
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
        """Take a pose of the base; behind a leap (a driver that starts again) nothing is compared with before."""
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
        ends = self._odometry.at(known[nearest]), self._odometry.at(stamp_ns)
        if None in ends or ends[0].piece != ends[1].piece:
            return (f'node {nearest} is {difference_ns * 1e-9:.2f} s away, and without unbroken odometry between them '
                    f'it cannot stand for the keyframe')
        return Located(nearest, relative(ends[0].pose, ends[1].pose))


def to_add_link(closure: LoopClosure, query: Located, match: Located, request: Any) -> Any:
    """An AddLink request from the query's node to the match's.

    :param request: the class of the service's requests
    :raises SegvladError: numbers that are no pose or no covariance
    """
    measured = compose(match.node_from_keyframe, match_from_query(closure), inverse_pose(query.node_from_keyframe))
    from_to = inverse(measured)
    filled = request()
    link = filled.link
    link.from_id, link.to_id, link.type = query.node_id, match.node_id, USER_CLOSURE
    fill_transform(link.transform, from_to)
    link.information = (np.eye(6) if from_to.covariance is None else information(tangent_covariance(from_to))).ravel()
    return filled


class Rtabmap(Bridge):
    """``loop_closures`` to ``add_link``, when both nodes are known; gives up after ``hold_timeout_s``."""

    OUTPUT = 'add_link'

    def __init__(self, node) -> None:
        super().__init__(node)
        self._types = load_types()
        self._nodes = RtabmapNodes(node.parameters['rtabmap.max_stamp_difference_s'])
        self._pending = PendingMessages(self._send, self._too_late, node.parameters['hold_timeout_s'], node.steady_s)
        self._add_link: Any = None
        self._get_map: Any = None
        self._asked = False
        self._database: Any = None

    def open(self) -> None:
        """See :class:`Bridge`."""
        self._asked, self._database = False, None
        self._add_link = self.client(self._types.add_link, self.OUTPUT)
        self._get_map = self.client(self._types.get_map, 'get_map_data2')
        self.subscribe(self._types.info, 'info', self._take_info, qos.reliable(20))
        self.subscribe(Odometry, 'odom', self._take_odometry, qos.sensor(20))
        self.subscribe(LoopClosure, 'loop_closures', self._take_closure, qos.reliable(), counted=True)
        self.watch_sessions()
        self.regularly(self._retry)

    def waiting(self) -> int:
        """See :class:`Bridge`."""
        return len(self._pending)

    def _retry(self) -> None:
        if self._database is not None and self._database.done():
            self._nodes.add_map(self._database.result().data)
            self._database = None
        self._pending.retry()

    def _take_info(self, info: Any) -> None:
        self._nodes.add_info(info)
        self._pending.retry()

    def _take_odometry(self, message: Odometry) -> None:
        self._nodes.add_odometry(from_time(message.header.stamp), from_odometry(message))

    def _take_closure(self, closure: LoopClosure) -> None:
        self.sessions.check(closure.query, closure.match)
        self._pending.add(closure)

    def _send(self, closure: LoopClosure) -> str:
        query, match = (self._locate(end) for end in (closure.query, closure.match))
        for end, found in (('query', query), ('match', match)):
            if isinstance(found, str):
                return f'its {end}: {found}'
        if not self._add_link.service_is_ready():
            return f'the service {self._add_link.srv_name} is not there'
        self._add_link.call_async(to_add_link(closure, query, match, self._types.add_link.Request))
        self.sent()
        return ''

    def _locate(self, keyframe: Any) -> Located | str:
        stamp_ns = from_time(keyframe.stamp)
        found = self._nodes.locate(stamp_ns)
        if isinstance(found, str) and self._nodes.is_older(stamp_ns):
            self._ask_for_the_database()
        return found

    def _ask_for_the_database(self) -> None:
        """Once: the nodes of earlier sessions, without their data."""
        if not self._asked and self._get_map.service_is_ready():
            self._asked = True
            self._database = self._get_map.call_async(self._types.get_map.Request(global_map=True))

    def _too_late(self, closure: LoopClosure, reason: str) -> None:
        self.give_up(f'closure of keyframe {closure.query.index} with {closure.match.index} not added: {reason}')
