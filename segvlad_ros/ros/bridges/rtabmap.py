"""Loop closures for RTAB-Map: LoopClosure to the service add_link (rtabmap_msgs/srv/AddLink).

RTAB-Map's link has the pose of ``to`` in ``from``. Its own closures go from the new node to the old one, and when it
localises, ``to`` must be the node of the map: so ``from`` is the query and ``to`` the match, and the transform is the
inverse of ``query_pose_in_match``. ``information`` is the inverse of the covariance in the axes of ``to``, translation
first (its GTSAM and g2o optimisers read it so); 1 where the covariance is unknown, as RTAB-Map asks.

Which node stands for a keyframe: :mod:`segvlad_ros.ros.bridges.rtabmap_nodes`. The service's reply is empty: what
became of a link is not told.
"""
from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from nav_msgs.msg import Odometry

from segvlad_ros.geometry import inverse as inverse_pose
from segvlad_ros.geometry import tangent_covariance
from segvlad_ros.msg import KeyframeId, LoopClosure
from segvlad_ros.ros.bridges.base_bridge import Bridge, PendingMessages
from segvlad_ros.ros.bridges.relative_poses import compose, information, inverse, match_from_query
from segvlad_ros.ros.bridges.rtabmap_nodes import Located, RtabmapNodes
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.peer_packages import interfaces
from segvlad_ros.ros.output.conversions import fill_transform, from_odometry, from_time

INSTALL = f'sudo apt install ros-{os.environ.get("ROS_DISTRO", "jazzy")}-rtabmap-msgs'
USER_CLOSURE = 4  # rtabmap::Link::kUserClosure; the message has no constants


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


def to_add_link(closure: LoopClosure, query: Located, match: Located, request: Any) -> Any:
    """An AddLink request from the query's node to the match's.

    :param request: the class of the service's requests
    :raises SegvladError: numbers that are not a pose or not a covariance
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
        self._database: Any = None  # the answer that is awaited
        self._asked_s: float | None = None

    def open(self) -> None:
        """See :class:`Bridge`."""
        self._database = self._asked_s = None
        self._add_link = self.client(self._types.add_link, self.OUTPUT)
        self._get_map = self.client(self._types.get_map, 'get_map_data2')
        self.subscribe(self._types.info, 'info', self._take_info, qos.reliable(20))
        self.subscribe(Odometry, 'odom', self._take_odometry, qos.sensor(20), optional=True)
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
        late = self._database is not None and (
            self.node.steady_s() - self._asked_s > self.node.parameters['hold_timeout_s'])
        if late or not self._get_map.service_is_ready():
            self._may_ask_again()
        self._pending.retry()

    def _take_info(self, info: Any) -> None:
        if self._nodes.add_info(info):
            self._may_ask_again()
            self._pending.give_up('RTAB-Map, or its clock, began anew')
        self._pending.retry()

    def _take_odometry(self, message: Odometry) -> None:
        self._nodes.add_odometry(from_time(message.header.stamp), from_odometry(message), message.child_frame_id)

    def _take_closure(self, closure: LoopClosure) -> None:
        self.sessions.check(closure.query, closure.match)
        self._pending.add(closure)

    def _send(self, closure: LoopClosure) -> str:
        query, match = (self._locate(end, closure.base_frame) for end in (closure.query, closure.match))
        for end, found in (('query', query), ('match', match)):
            if isinstance(found, str):
                return f'its {end}: {found}'
        if not self._add_link.service_is_ready():
            return f'the service {self._add_link.srv_name} is not there'
        self._add_link.call_async(to_add_link(closure, query, match, self._types.add_link.Request))
        self.sent()
        return ''

    def _locate(self, keyframe: KeyframeId, base_frame: str) -> Located | str:
        stamp_ns = from_time(keyframe.stamp)
        found = self._nodes.locate(stamp_ns, base_frame)
        if isinstance(found, str) and self._nodes.is_older(stamp_ns):
            self._ask_for_the_database()
        return found

    def _ask_for_the_database(self) -> None:
        """Once in RTAB-Map's life: the nodes of earlier sessions, without their data."""
        if self._asked_s is None and self._get_map.service_is_ready():
            self._asked_s = self.node.steady_s()
            self._database = self._get_map.call_async(self._types.get_map.Request(global_map=True))

    def _may_ask_again(self) -> None:
        """The answer is lost, or there is another database."""
        if self._database is not None:
            self._get_map.remove_pending_request(self._database)
        self._database = self._asked_s = None

    def _too_late(self, closure: LoopClosure, reason: str) -> None:
        self.give_up(f'closure of keyframe {closure.query.index} with {closure.match.index} not added: {reason}')
