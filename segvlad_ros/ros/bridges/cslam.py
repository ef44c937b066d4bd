"""Matches for Swarm-SLAM: PlaceMatchArray to cslam_common_interfaces/LocalKeyframeMatch or InterRobotMatches.

Swarm-SLAM's front-end makes the keyframes and verifies every pair itself: it wants two of its ids, and no pose. Its ids
come from its own topics by stamp: ``cslam/keyframe_data`` for this robot, whose images go on to ``~/image`` so that our
nodes describe exactly these keyframes, and ``/r<n>/cslam/keyframe_odom`` for the others.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from sensor_msgs.msg import Image

from segvlad_ros.msg import KeyframeId, PlaceMatchArray
from segvlad_ros.ros.bridges.base_bridge import Bridge, PendingMessages
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.peer_packages import interfaces
from segvlad_ros.ros.output.conversions import from_time

INSTALL = 'build cslam_common_interfaces of https://github.com/lajoiepy/cslam_interfaces'
# A robot ignores InterRobotMatches under its own id. This id is nobody's, so that our own robot takes ours too: the
# robot that chooses among the matches may be it.
NOBODY = 2**32 - 1


class CslamTypes(NamedTuple):
    """The message classes of the target."""

    local_match: Any
    matches: Any
    match: Any
    keyframe: Any
    odometry: Any


def load_types() -> CslamTypes:
    """Import them.

    :raises SegvladError: the package is missing
    """
    return CslamTypes(*interfaces(
        'cslam_common_interfaces', INSTALL, 'msg/LocalKeyframeMatch', 'msg/InterRobotMatches', 'msg/InterRobotMatch',
        'msg/KeyframeRGB', 'msg/KeyframeOdom'))


def is_local(answer: PlaceMatchArray) -> bool:
    """Whether the best match is of the robot's own keyframes."""
    return bool(answer.matches[0].query.robot_id == answer.matches[0].match.robot_id)


def to_cslam_match(answer: PlaceMatchArray, id_of: Callable[[KeyframeId], int | None], types: CslamTypes) -> Any | None:
    """The best match of an answer in cslam's ids: a LocalKeyframeMatch, or InterRobotMatches between two robots.

    End 0 is the query, end 1 the match. The weight is the probability, or without a calibration the score.

    :param answer: with status MATCHED
    :param id_of: cslam's id of a keyframe, None if unknown
    :return: None if an id is unknown
    """
    best = answer.matches[0]
    query_id, match_id = id_of(best.query), id_of(best.match)
    if query_id is None or match_id is None:
        return None
    if is_local(answer):
        local = types.local_match()
        local.keyframe0_id, local.keyframe1_id = query_id, match_id
        return local
    between, message = types.match(), types.matches()
    between.robot0_id, between.robot0_keyframe_id = best.query.robot_id, query_id
    between.robot1_id, between.robot1_keyframe_id = best.match.robot_id, match_id
    between.weight = float(best.score if math.isnan(best.probability) else best.probability)
    message.robot_id, message.matches = NOBODY, [between]
    return message


class CslamKeyframes:
    """Swarm-SLAM's ids by robot and stamp."""

    def __init__(self) -> None:
        self._ids: dict[int, dict[int, int]] = {}  # of each robot by stamp, both growing

    def add(self, robot_id: int, stamp_ns: int, keyframe_id: int) -> None:
        """Take note of one keyframe; if the robot's Swarm-SLAM, or its clock, began anew, forget those before."""
        known = self._ids.setdefault(robot_id, {})
        if known.get(stamp_ns) == keyframe_id:
            return
        last_ns = next(reversed(known), -1)
        if known and (stamp_ns <= last_ns or keyframe_id <= known[last_ns]):
            known.clear()
        known[stamp_ns] = keyframe_id

    def id_of(self, keyframe: KeyframeId) -> int | None:
        """Swarm-SLAM's id of one of our keyframes, None if it is unknown."""
        return self._ids.get(keyframe.robot_id, {}).get(from_time(keyframe.stamp))


class Cslam(Bridge):
    """``matches`` to ``cslam/local_keyframe_match`` and ``/cslam/inter_robot_matches``."""

    OUTPUT = 'cslam/local_keyframe_match'

    def __init__(self, node) -> None:
        super().__init__(node)
        self._types = load_types()
        self._keyframes = CslamKeyframes()
        self._pending = PendingMessages(self._send, self._too_late, node.parameters['hold_timeout_s'], node.steady_s)
        self._images = self._local = self._between = None

    def open(self) -> None:
        """See :class:`Bridge`."""
        own = self.node.parameters['robot_id']
        self._images = self.publisher(Image, '~/image', qos.reliable())
        self._local = self.publisher(self._types.local_match, self.OUTPUT, qos.reliable(100))
        self._between = self.publisher(self._types.matches, '/cslam/inter_robot_matches', qos.reliable(100))
        self.subscribe(self._types.keyframe, 'cslam/keyframe_data', self._take_keyframe, qos.reliable(100))
        for robot_id in range(self.node.parameters['cslam.max_nb_robots']):
            if robot_id != own:
                self.subscribe(self._types.odometry, f'/r{robot_id}/cslam/keyframe_odom',
                               lambda message, robot_id=robot_id: self._keyframes.add(
                                   robot_id, from_time(message.odom.header.stamp), message.id), qos.reliable(100),
                               optional=True)
        self.subscribe(PlaceMatchArray, 'matches', self._take_answer, qos.reliable(), counted=True)
        self.regularly(self._pending.retry)

    def waiting(self) -> int:
        """See :class:`Bridge`."""
        return len(self._pending)

    def _take_keyframe(self, message: Any) -> None:
        self._keyframes.add(self.node.parameters['robot_id'], from_time(message.image.header.stamp), message.id)
        self._images.publish(message.image)

    def _take_answer(self, answer: PlaceMatchArray) -> None:
        self.sessions.note(answer.query)
        if answer.status == PlaceMatchArray.MATCHED and answer.matches:
            self.sessions.check(answer.query, answer.matches[0].match)
            self._pending.add(answer)

    def _send(self, answer: PlaceMatchArray) -> str:
        message = to_cslam_match(answer, self._keyframes.id_of, self._types)
        if message is None:
            return 'Swarm-SLAM has published no keyframe with its stamp'
        (self._local if is_local(answer) else self._between).publish(message)
        self.sent()
        return ''

    def _too_late(self, answer: PlaceMatchArray, reason: str) -> None:
        best = answer.matches[0]
        self.give_up(f'match of keyframe {best.query.index} with {best.match.index} not sent: {reason}')
