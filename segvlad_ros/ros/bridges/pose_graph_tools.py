"""Loop closures for Hydra: LoopClosure to pose_graph_tools_msgs/PoseGraph.

Hydra's ``external_loop_closures`` takes the keys as nanosecond stamps, finds the nearest agent node of each end (and
waits for it), and reads ``pose`` as **to_T_from** in body frames: it adds a factor between ``to`` and ``from`` with
that pose. So ``from`` is the query and ``to`` the match. Kimera-PGMO's own input reads from_T_to and node numbers: it
is not this one.

The covariance is GTSAM's of that factor: rotation first, in the axes of ``from``. Hydra does not read it (it takes its
own variance); its family fills it in that way.
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from segvlad_ros.geometry import rotation_first, tangent_covariance
from segvlad_ros.msg import LoopClosure
from segvlad_ros.ros.bridges.base_bridge import Bridge
from segvlad_ros.ros.bridges.relative_poses import match_from_query
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.peer_packages import interfaces
from segvlad_ros.ros.output.conversions import fill_pose, from_time
from segvlad_ros.types import SegvladError

INSTALL = 'build pose_graph_tools_msgs of https://github.com/MIT-SPARK/pose_graph_tools (branch feature/ros2)'
LARGEST_ROBOT = 2**31 - 1


class PoseGraphToolsTypes(NamedTuple):
    """The message classes of the target."""

    graph: Any
    edge: Any


def load_types() -> PoseGraphToolsTypes:
    """Import them.

    :raises SegvladError: the package is missing
    """
    return PoseGraphToolsTypes(*interfaces('pose_graph_tools_msgs', INSTALL, 'msg/PoseGraph', 'msg/PoseGraphEdge'))


def to_pose_graph(closure: LoopClosure, types: PoseGraphToolsTypes) -> Any:
    """A PoseGraph with one LOOPCLOSE edge from the query to the match.

    :raises SegvladError: numbers that are not a pose, or that the target cannot hold
    """
    pose = match_from_query(closure)
    edge, graph = types.edge(), types.graph()
    for header in (edge.header, graph.header):
        header.stamp, header.frame_id = closure.header.stamp, closure.base_frame
    edge.key_from, edge.key_to = from_time(closure.query.stamp), from_time(closure.match.stamp)
    edge.robot_from, edge.robot_to = _robot(closure.query), _robot(closure.match)
    edge.type = edge.LOOPCLOSE
    fill_pose(edge.pose, pose)
    if pose.covariance is not None:
        edge.covariance = np.ascontiguousarray(rotation_first(tangent_covariance(pose))).ravel()
    graph.edges = [edge]
    return graph


def _robot(keyframe: Any) -> int:
    if keyframe.robot_id > LARGEST_ROBOT:
        raise SegvladError(f'robot_id {keyframe.robot_id} does not fit the int32 of a PoseGraphEdge')
    return keyframe.robot_id


class PoseGraphTools(Bridge):
    """``loop_closures`` to ``external_loop_closures``; the back-end itself waits for its nodes."""

    OUTPUT = 'external_loop_closures'

    def __init__(self, node) -> None:
        super().__init__(node)
        self._types = load_types()
        self._publisher: Any = None

    def open(self) -> None:
        """See :class:`Bridge`."""
        self._publisher = self.publisher(self._types.graph, self.OUTPUT, qos.reliable(100))
        self.subscribe(LoopClosure, 'loop_closures', self._take, qos.reliable(), counted=True)
        self.watch_sessions()

    def _take(self, closure: LoopClosure) -> None:
        self.sessions.check(closure.query, closure.match)
        self._publisher.publish(to_pose_graph(closure, self._types))
        self.sent()
