"""Odometry as it comes from a robot, under a pose graph: with gaps, with stops, with a stamp that is wrong."""
import numpy as np
import pytest

from segvlad_ros.ros.input.optimized_path import OptimizedPath
from segvlad_ros.ros.output.path_bytes import path_bytes
from segvlad_ros.slam.consensus import Verdict
from segvlad_ros.slam.pose_graph import FRAME, PoseGraph
from segvlad_ros.types import KeyframeId, Pose, SegvladError

SECOND = 10**9
HERE = np.array([0.0, 0.0, 0.0, 1.0])
EXACT = Pose(np.zeros(3), HERE, '', np.eye(6) * 1e-4)


def at(metres, frame='odom'):
    return Pose(np.array([metres, 0.0, 0.0]), HERE, frame)


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


@pytest.mark.fault('clock', 'one odometry message of a pose graph has a stamp far off the others',
                   'it is left out; the graph, and `map` -> `odom`, go on')
@pytest.mark.parametrize('off_s', [1000.0, -90.0, 5.0, -20.0])
@pytest.mark.parametrize('number', [1, 200, 399])
def test_one_wrong_stamp_does_not_throw_the_graph_away(off_s, number):
    graph, anew = PoseGraph(), []
    for k in range(401):
        anew.append(graph.add_odometry(ns(k / 10 + (off_s if k == number else 0.0)), at(out_and_back(k / 10))))
    assert not any(anew)
    assert graph.strays == 1
    stamps, poses = graph.path()
    assert (stamps[0], stamps[-1]) == (ns(0), ns(40))
    assert np.allclose(poses[:, 0], [out_and_back((stamp - ns(0)) / SECOND) for stamp in stamps], atol=1e-6)


@pytest.mark.fault('odometry', 'two nodes publish odometry in frames of different names, under a pose graph',
                   'the graph is of the one that came first; the other is left out, and said to be')
def test_a_second_odometry_in_another_frame_does_not_throw_the_graph_away():
    graph = PoseGraph()
    for k in (k for k in range(401) if not 100 < k < 140):
        assert not graph.add_odometry(ns(k / 10), at(out_and_back(k / 10)))
        with pytest.raises(SegvladError, match="it is in 'ekf', and odometry in 'odom' came just before"):
            graph.add_odometry(ns(k / 10 + 0.05), at(0.0, 'ekf'))
    stamps, poses = graph.path()
    assert (stamps[0], stamps[-1]) == (ns(0), ns(40))
    assert np.allclose(poses[:, 0], [out_and_back((stamp - ns(0)) / SECOND) for stamp in stamps], atol=1e-6)


def test_odometry_that_comes_in_another_frame_alone_begins_a_new_graph():
    graph = driven(out_and_back, [k / 10 for k in range(401)])
    anew = []
    for k in range(1, 51):
        try:
            anew.append(graph.add_odometry(ns(40 + k / 10), at(0.0, 'ekf')))
        except SegvladError:
            anew.append(False)
    assert anew.count(True) == 1
    assert (graph.odometry_frame, graph.nodes) == ('ekf', 1)


@pytest.mark.parametrize('period_s', [0.1, 3.0])
def test_a_clock_that_jumps_ahead_or_a_pause_ends_no_graph(period_s):
    seconds = [*np.arange(0, 15, period_s), *np.arange(115, 125, period_s)]
    graph = PoseGraph()
    assert not any([graph.add_odometry(ns(second), at(k / 10)) for k, second in enumerate(seconds)])
    assert graph.strays == 0
    assert graph.newest_ns == ns(seconds[-1])


STOPS = {  # metres along x by seconds, of a robot that stops on its way
    'at a dock for 50 s': lambda second: min(second, 10.35) + max(second - 60, 0.0),
    'just behind a node': lambda second: min(second, 10.01) + max(second - 60, 0.0),
    'before it begins': lambda second: max(second - 60, 0.0),
    'with odometry that trembles': lambda second: (min(second, 10.35) + max(second - 60, 0.0)
                                                   + 0.001 * (round(10 * second) % 2)),
}


@pytest.mark.parametrize('place', STOPS.values(), ids=STOPS)
def test_keyframes_at_a_stop_get_the_optimised_pose(place, request):
    graph = driven(place, [k / 10 for k in range(800)])
    seconds = [0.23, 1.0, 3.0, *np.arange(8, 14, 0.13), 30.0, 50.0, *np.arange(58, 63, 0.13)]
    keyframes = [KeyframeId(0, 'today', number, ns(second), '') for number, second in enumerate(seconds, 1)]
    path = OptimizedPath(lambda: keyframes)
    path.take(path_bytes(FRAME, *graph.path()))
    moved = path.moved()
    assert [second for second, keyframe in zip(seconds, keyframes) if keyframe not in moved] == []
    for second, keyframe in zip(seconds, keyframes):
        braked = 10.0 <= second <= 11.0 and 'trembles' in request.node.name  # there a line between nodes is no way
        assert moved[keyframe].map_from_base.translation[0] == pytest.approx(place(second), abs=0.3 if braked else 0.06)
    assert graph.nodes < 5 + 2 * place(79.9)


def test_a_path_across_a_pause_in_which_the_robot_moved_places_no_keyframe():
    graph = driven(out_and_back, [k / 10 for k in range(401) if not 100 < k < 130])
    keyframes = [KeyframeId(0, 'today', number, ns(second), '') for number, second in enumerate((9.95, 11.0, 13.1), 1)]
    path = OptimizedPath(lambda: keyframes)
    path.take(path_bytes(FRAME, *graph.path()))
    assert [*path.moved()] == [keyframes[0], keyframes[2]]
