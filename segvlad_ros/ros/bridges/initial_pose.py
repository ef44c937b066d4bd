"""A first pose for Nav2's AMCL, RTAB-Map or slam_toolbox: PlaceMatchArray to PoseWithCovarianceStamped on /initialpose.

They accept it blindly, and AMCL throws its particles away for it: so it goes out once at the start, once after the
robot was lost, once for who comes to listen, and once when asked for, never as a stream. AMCL moves it on by odometry
from the image's stamp to now.
"""
from __future__ import annotations

from collections import Counter

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped

from segvlad_ros.geometry import identity, same_frame
from segvlad_ros.msg import PlaceMatchArray
from segvlad_ros.ros.bridges.base_bridge import Bridge, LastSeen
from segvlad_ros.ros.bridges.relative_poses import compose, match_from_query
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import from_pose, to_pose_with_covariance
from segvlad_ros.types import SegvladError

LOST = (PlaceMatchArray.NO_MATCH_LOW_SCORE, PlaceMatchArray.NO_MATCH_AMBIGUOUS, PlaceMatchArray.NO_MATCH_TEMPORAL,
        PlaceMatchArray.NO_MATCH_GEOMETRIC)
# What RViz' "2D Pose Estimate" sends, for a match whose covariance is unknown
UNKNOWN = np.diag([0.25, 0.25, 0.25, 0.0685, 0.0685, 0.0685])


def is_metric(answer: PlaceMatchArray) -> bool:
    """Whether an answer tells where the robot is: matched, with a metric pose relative to a keyframe of known pose."""
    return bool(answer.status == PlaceMatchArray.MATCHED and answer.matches and answer.matches[0].has_relative_pose
                and answer.matches[0].match_pose.header.frame_id)


def to_initial_pose(answer: PlaceMatchArray, frame: str, map_position_std_m: float = 0.0,
                    map_angle_std_rad: float = 0.0) -> PoseWithCovarianceStamped:
    """Pose of the base in the map: ``match_pose`` times ``query_pose_in_match``.

    The covariance is that of ``query_pose_in_match`` turned into the axes of the map (x y z roll pitch yaw), plus that
    of the map.

    :param answer: see :func:`is_metric`
    :param map_position_std_m, map_angle_std_rad: how well the poses of the map's keyframes are known
    :raises SegvladError: the match's pose is in another frame, or numbers are not a pose
    """
    best = answer.matches[0]
    given = best.match_pose.header.frame_id
    if not same_frame(given, frame):
        raise SegvladError(f'poses of the matches are in {given}, not in {frame}: give the map_builder the optimised '
                           'poses (optimized_path), or the map a frame (segvlad map merge), or set '
                           'initial_pose.frame')
    pose = compose(from_pose(best.match_pose.pose, frame), match_from_query(best), identity())
    spread = np.repeat([map_position_std_m, map_angle_std_rad], 3) ** 2
    message = PoseWithCovarianceStamped(pose=to_pose_with_covariance(pose))
    covariance = (UNKNOWN if pose.covariance is None else pose.covariance) + np.diag(spread)
    message.pose.covariance = covariance.ravel()
    message.header.frame_id, message.header.stamp = frame, answer.header.stamp
    return message


class Relocalisation:
    """Knows when a pose is due by the answers: at the start, and after the robot was lost.

    :ivar due: also set when somebody asks for a pose, or comes to listen
    :param lost_after: so many keyframes of a camera in a row, without a match of any, are a lost robot; 0: never
    """

    def __init__(self, lost_after: int) -> None:
        self._lost_after = lost_after
        self._unmatched: Counter[str] = Counter()  # by camera
        self._sessions: LastSeen[str, None] = LastSeen()
        self.due = True

    def take(self, answer: PlaceMatchArray) -> None:
        """Look at an answer; a session that is new (a robot that was rebooted, a bag that began anew) is a new start.

        Several cameras may answer in turn, each in a session of its own. One that finds the place knows it for all.
        """
        session, camera = answer.query.session_id, answer.query.camera
        if session not in self._sessions:
            self.due = True
        self._sessions[session] = None
        if answer.status in LOST:
            self._unmatched[camera] += 1
        elif answer.status == PlaceMatchArray.MATCHED:
            self._unmatched.clear()
        if self._lost_after and self._unmatched[camera] >= self._lost_after:
            self.due = True


class InitialPose(Bridge):
    """``matches`` to ``initialpose``."""

    OUTPUT = 'initialpose'

    def __init__(self, node) -> None:
        super().__init__(node)
        self._relocalisation = Relocalisation(node.parameters['initial_pose.lost_after_keyframes'])
        self._publisher = None
        self._listeners = 0

    def open(self) -> None:
        """See :class:`Bridge`."""
        self._publisher = self.publisher(PoseWithCovarianceStamped, self.OUTPUT, qos.reliable())
        self.subscribe(PlaceMatchArray, 'matches', self._take, qos.reliable(), counted=True)
        self._listeners = 0
        self.regularly(self._look_who_listens)

    def trigger(self) -> str:
        """See :class:`Bridge`."""
        self._relocalisation.due = True
        return 'the next metric match becomes the initial pose'

    def _look_who_listens(self) -> None:
        """Who comes is told the pose, too: whether it is a localiser, or a recorder, cannot be seen."""
        before, self._listeners = self._listeners, self._publisher.get_subscription_count()
        if self._listeners > before:
            self._relocalisation.due = True

    def _take(self, answer: PlaceMatchArray) -> None:
        self._look_who_listens()
        self._relocalisation.take(answer)
        if not self._relocalisation.due or not is_metric(answer):
            return
        parameters = self.node.parameters
        message = to_initial_pose(answer, *(parameters[f'initial_pose.{name}'] for name in (
            'frame', 'map_position_std_m', 'map_angle_std_rad')))
        if not self._listeners:
            self.node.report(f'nobody listens on {self._publisher.topic_name}: the initial pose waits')
            return
        self._publisher.publish(message)
        self._relocalisation.due = False
        self.sent()
