"""Odometry as it comes from a robot, under a pose graph: with gaps, with stops, with a stamp that is wrong."""
import numpy as np
import pytest

from segvlad_ros.slam.consensus import Verdict
from segvlad_ros.slam.pose_graph import PoseGraph
from segvlad_ros.types import Pose

SECOND = 10**9
HERE = np.array([0.0, 0.0, 0.0, 1.0])
EXACT = Pose(np.zeros(3), HERE, '', np.eye(6) * 1e-4)


def at(metres):
    return Pose(np.array([metres, 0.0, 0.0]), HERE, 'odom')


def ns(seconds):
    return 100 * SECOND + round(seconds * SECOND)


def driven(place, seconds):
    """The graph of odometry that tells where a robot is at these moments.

    :param place: metres along x by seconds
    """
    graph = PoseGraph()
    for second in seconds:
        graph.add_odometry(ns(second), at(place(second)))
    return graph


def out_and_back(second):
    """20 m along x and back, at 1 m/s, without turning."""
    return second if second < 20 else 40 - second


@pytest.mark.fault('odometry', 'odometry is away for seconds while the robot drives, under a pose graph',
                   'closures of that time are unusable, and do not bend the path')
def test_a_closure_in_a_gap_of_odometry_does_not_bend_the_path():
    graph = driven(out_and_back, [k / 10 for k in range(401) if not 100 < k < 130])
    seconds = (10.2, 10.5, 10.8, 12.5, 12.9)
    numbers = [graph.add_closure(ns(second), ns(40 - second), EXACT) for second in seconds]
    judged = graph.optimize()
    assert {judged[number].verdict for number in numbers} == {Verdict.UNUSABLE}
    assert 'no odometry at the stamp of the match' in judged[numbers[0]].reason
    stamps, poses = graph.path()
    assert np.allclose(poses[:, 0], [out_and_back((stamp - ns(0)) / SECOND) for stamp in stamps], atol=1e-6)


def test_a_closure_from_before_the_first_odometry_is_unusable():
    graph = driven(out_and_back, [k / 10 for k in range(9, 401)])
    number = graph.add_closure(ns(0.2), ns(39.8), EXACT)
    assert graph.optimize()[number].verdict == Verdict.UNUSABLE
