"""The pose graph: directions, covariances, false closures, stamps that nobody knows."""
import math
from itertools import islice

import numpy as np
import pytest
from trajectory import absolute_trajectory_error

from segvlad_ros.geometry import (
    compose,
    distance,
    exponential,
    from_matrix,
    inverse,
    relative,
    rotation_angle,
    to_matrix,
)
from segvlad_ros.mapping.odometry import OdometrySettings
from segvlad_ros.simulation.routes import ROUTES, drive, odometry
from segvlad_ros.slam.consensus import Verdict
from segvlad_ros.slam.odometry_chain import PoseGraphSettings
from segvlad_ros.slam.optimizer import Optimizer
from segvlad_ros.slam.pose_graph import PoseGraph
from segvlad_ros.types import Pose, SegvladError

SECOND = 10**9
TIGHT = np.diag([0.01 ** 2] * 3 + [0.005 ** 2] * 3)


def flat(x, y, yaw, frame='odom'):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)]), frame)


def with_covariance(pose, covariance):
    return Pose(pose.translation, pose.quaternion, pose.frame, covariance)


def square(laps=2, side=8.0, drift=0.0):
    """Stamps, true poses and odometry of a drive round a square, its corners cut in four steps of 0.1 s and 0.1 m."""
    true, reported = [flat(0, 0, 0)], [flat(0, 0, 0)]
    for step in range(round(laps * 4 * side / 0.1)):
        turn = math.pi / 8 if step % round(side / 0.1) >= round(side / 0.1) - 4 else 0.0
        true.append(compose(true[-1], flat(0.1, 0, turn)))
        reported.append(compose(reported[-1], flat(0.1, 0, turn + 0.1 * drift)))
    return [SECOND + k * SECOND // 10 for k in range(len(true))], true, reported


def fed(stamps, poses, settings=None):
    graph = PoseGraph(settings)
    for stamp, pose in zip(stamps, poses):
        graph.add_odometry(stamp, pose)
    return graph


def path_of(graph):
    """The path as stamps and poses."""
    stamps, poses = graph.path()
    assert stamps.dtype == np.int64 and poses.shape == (len(stamps), 7)
    return [(stamp, Pose(pose[:3], pose[3:], 'map')) for stamp, pose in zip(stamps.tolist(), poses)]


def verdict(graph, number):
    return graph.optimize()[number].verdict


def test_without_closures_the_map_is_the_odometry():
    stamps, _, reported = square(laps=1)
    graph = fed(stamps, reported)
    assert graph.optimize() == {}
    path = path_of(graph)
    assert path[-1][0] == stamps[-1]
    assert [stamp for stamp, _ in path] == sorted({stamp for stamp, _ in path})
    for stamp, pose in path:
        assert distance(pose, reported[stamps.index(stamp)]) < 1e-6
    assert all(distance(before[1], after[1]) < 0.7 for before, after in zip(path, path[1:]))


def test_a_closure_pulls_the_query_to_where_the_match_saw_it():
    stamps, true, reported = square(drift=0.01)
    match, query = 40, 40 + 320 + 13  # one lap later and a bit ahead: the relative pose is not its own inverse
    seen = relative(true[match], true[query])
    assert distance(seen, inverse(seen)) > 1
    results = {}
    for name, pose in (('right', seen), ('swapped', inverse(seen))):
        graph = fed(stamps, reported)
        number = graph.add_closure(stamps[match], stamps[query], with_covariance(pose, TIGHT))
        results[name] = graph, verdict(graph, number)
    graph = results['right'][0]
    assert results['right'][1] == Verdict.ACCEPTED
    now = relative(graph.pose_at(stamps[match]), graph.pose_at(stamps[query]))
    assert distance(now, seen) < 0.05
    assert rotation_angle(now, seen) < 0.04
    assert distance(relative(reported[match], reported[query]), seen) > 1
    other = results['swapped'][0]
    assert distance(relative(other.pose_at(stamps[match]), other.pose_at(stamps[query])), seen) > 0.5


@pytest.mark.parametrize('known', [0, 3])
def test_odometry_that_starts_again_is_put_right_by_closures_across_the_leap(known):
    stamps, true, reported = square(drift=0.002)
    leap = 400
    again = [*reported[:leap], *(relative(reported[leap], pose) for pose in reported[leap:])]
    again = [Pose(pose.translation, pose.quaternion, 'odom') for pose in again]
    graph = fed(stamps, again)
    assert graph.nodes > 100
    assert distance(graph.pose_at(stamps[leap]), again[leap - 1]) < 0.05  # as if it had stood, not back at the start
    numbers = []
    for at in (100, 150, 200, 20, 40, 60)[:3 + known]:
        seen = with_covariance(relative(true[at], true[at + 320]), TIGHT)
        numbers.append(graph.add_closure(stamps[at], stamps[at + 320], seen))
    assert [verdict(graph, number) for number in numbers] == [Verdict.ACCEPTED] * len(numbers)
    assert max(distance(pose, true[stamps.index(stamp)]) for stamp, pose in path_of(graph)) < 0.5


@pytest.mark.fault('odometry', 'odometry leaps while `map` -> `odom` is broadcast',
                   'the transform still puts the robot where the path has it')
@pytest.mark.parametrize('leap', [None, 400])
def test_where_odometry_lies_in_the_map(leap):
    """Before a closure it is the map; after it, and after a leap, it puts the newest pose where the path has it."""
    stamps, true, reported = square(drift=0.01)
    assert PoseGraph().map_from_odometry() is None
    graph = fed(stamps[:100], reported)
    assert (graph.odometry_frame, graph.map_from_odometry().frame) == ('odom', 'map')
    assert distance(graph.map_from_odometry(), flat(0, 0, 0)) < 1e-6
    if leap is not None:
        start = compose(reported[leap], flat(3.0, 1.0, 0.5))
        again = [relative(start, pose) for pose in reported[leap:]]
        reported = [*reported[:leap], *(Pose(pose.translation, pose.quaternion, 'odom') for pose in again)]
    graph = fed(stamps, reported)
    number = graph.add_closure(stamps[40], stamps[373], with_covariance(relative(true[40], true[373]), TIGHT))
    assert verdict(graph, number) == Verdict.ACCEPTED
    correction = graph.map_from_odometry()
    assert distance(correction, flat(0, 0, 0)) > 0.5
    newest = graph.pose_at(stamps[-1])
    assert distance(compose(correction, reported[-1]), newest) < 1e-6
    assert rotation_angle(compose(correction, reported[-1]), newest) < 1e-6


def test_the_first_pose_stays():
    stamps, true, reported = square(drift=0.01)
    graph = fed(stamps, reported)
    graph.add_closure(stamps[0], stamps[320], with_covariance(relative(true[0], true[320]), TIGHT))
    graph.optimize()
    assert distance(graph.pose_at(stamps[0]), reported[0]) < 1e-4
    assert distance(graph.pose_at(stamps[320]), true[320]) < 0.2


def test_stamps_between_nodes_need_no_node_of_their_own():
    stamps, true, reported = square(drift=0.01)
    match, query = 37 * SECOND // 10 + SECOND + 31_000_000, 357 * SECOND // 10 + SECOND + 77_000_000
    ends = [compose(true[at], flat(part, 0, 0)) for at, part in ((37, 0.031), (357, 0.077))]
    graph = fed(stamps, reported)
    number = graph.add_closure(match, query, with_covariance(relative(*ends), TIGHT))
    assert verdict(graph, number) == Verdict.ACCEPTED
    assert distance(relative(graph.pose_at(match), graph.pose_at(query)), relative(*ends)) < 0.03


@pytest.mark.parametrize('quarter', [0, 1])
def test_the_covariance_is_of_the_match_s_axes_with_the_translation_first(quarter):
    """The closure is sure along the match's x and vague along its y: only its x is taken over."""
    stamps, true, reported = square(laps=1)
    match, query = 5, 5 + 80 * quarter + 20  # heading as the match does, and turned by a quarter
    measured = relative(true[match], true[query])
    wrong = Pose(measured.translation + np.array([0.15, 0.15, 0.0]), measured.quaternion)
    variances = np.diag([0.001 ** 2, 3.0 ** 2, 3.0 ** 2, 3.0, 3.0, 3.0])
    graph = fed(stamps, reported, PoseGraphSettings(closure_translation_m=0.001))
    number = graph.add_closure(stamps[match], stamps[query], with_covariance(wrong, variances))
    assert verdict(graph, number) == Verdict.ACCEPTED
    moved = relative(graph.pose_at(stamps[match]), graph.pose_at(stamps[query])).translation - measured.translation
    assert moved[0] > 0.12
    assert moved[1] < 0.03  # turning the way there may move it away, but nothing pulls it to 0.15


def test_a_sure_rotation_is_not_taken_for_a_sure_translation():
    stamps, true, reported = square(laps=1)
    wrong = compose(relative(true[5], true[65]), flat(0.0, 0.0, 0.05))
    graph = fed(stamps, reported, PoseGraphSettings(OdometrySettings(drift_rad_per_m=0.02)))
    graph.add_closure(stamps[5], stamps[65], with_covariance(wrong, np.diag([9.0] * 3 + [1e-6] * 3)))
    graph.optimize()
    turned = rotation_angle(relative(graph.pose_at(stamps[5]), graph.pose_at(stamps[65])), relative(true[5], true[65]))
    assert turned > 0.03


def test_a_match_that_is_the_newer_end_is_the_same_closure_turned_round():
    stamps, true, reported = square(drift=0.01)
    seen, poses = relative(true[40], true[373]), []
    for match, query, pose in ((40, 373, seen), (373, 40, inverse(seen))):
        graph = fed(stamps, reported)
        number = graph.add_closure(stamps[match], stamps[query], with_covariance(pose, TIGHT))
        assert verdict(graph, number) == Verdict.ACCEPTED
        poses.append(graph.pose_at(stamps[373]))
    assert distance(*poses) < 0.05


def noisy(pose, rng):
    return from_matrix(to_matrix(pose) @ exponential(rng.standard_normal(6) * np.sqrt(np.diag(TIGHT))), '', TIGHT)


@pytest.mark.parametrize('share', [0.1, 0.3])
@pytest.mark.parametrize('in_a_row', [1, 4])
def test_false_closures_do_not_bend_the_path(share, in_a_row):
    rng = np.random.default_rng(round(100 * share) + in_a_row)
    path = drive(ROUTES['loop'], 0.9, 20.0).path
    reported = odometry(path, rng)
    true = [path.pose(k, 'map') for k in range(0, len(path), 2)]
    wheel = [reported.pose(k, 'odom') for k in range(0, len(path), 2)]
    stamps = [SECOND + k * SECOND // 10 for k in range(len(true))]
    pairs = [(m, q) for q in range(0, len(true), 15) for m in range(0, q - 150, 15)
             if distance(true[m], true[q]) < 1 and rotation_angle(true[m], true[q]) < 0.7]
    closures = [(m, q, relative(true[m], true[q]), True) for m, q in pairs]
    wanted = math.ceil(share / (1 - share) * len(pairs))
    while len(closures) < len(pairs) + wanted:
        m, q = sorted(rng.integers(0, len(true) - 15 * in_a_row, 2))
        if q - m > 150 and distance(true[m], true[q]) > 2:
            same = flat(*rng.uniform(-0.5, 0.5, 3))
            closures += [(m + 15 * k, q + 15 * k, compose(compose(inverse(relative(true[m], true[m + 15 * k])), same),
                                                          relative(true[q], true[q + 15 * k])), False)
                         for k in range(in_a_row)]
    graph, known, judged = PoseGraph(), {}, {}
    for k, stamp in enumerate(stamps):
        graph.add_odometry(stamp, wheel[k])
        for m, q, pose, is_true in closures:
            if q == k:
                known[graph.add_closure(stamps[m], stamp, noisy(pose, rng))] = is_true
                judged = graph.optimize()
    accepted = {number for number, answer in judged.items() if answer.verdict == Verdict.ACCEPTED}
    assert not [number for number in accepted if not known[number]]
    assert len(accepted) >= 0.9 * len(pairs)
    points, truth = (np.array([pose.translation for pose in poses])
                     for poses in ([graph.pose_at(stamp) for stamp in stamps], true))
    before = absolute_trajectory_error(np.array([pose.translation for pose in wheel]), truth).rmse
    assert absolute_trajectory_error(points, truth).rmse < 0.25 * before


@pytest.mark.parametrize('together', [(4,), (1, 3), (2, 2), (3, 1), (1, 1, 1, 1)])
def test_a_false_closure_that_came_first_is_taken_back(together):
    stamps, true, reported = square(drift=0.005)
    graph = fed(stamps, reported)
    shifted = compose(relative(true[40], true[360]), flat(1.0, 0.6, 0.1))
    false = graph.add_closure(stamps[40], stamps[360], with_covariance(shifted, TIGHT))
    assert verdict(graph, false) == Verdict.ACCEPTED  # odometry alone cannot tell
    matches, numbers = iter((20, 80, 140, 200)), []
    for size in together:
        numbers += [graph.add_closure(stamps[m], stamps[m + 320], with_covariance(
            relative(true[m], true[m + 320]), TIGHT)) for m in islice(matches, size)]
        judged = graph.optimize()
    assert [judged[number].verdict for number in numbers] == [Verdict.ACCEPTED] * 4
    assert judged[false].verdict == Verdict.REJECTED
    assert 'other closures' in judged[false].reason


def test_closures_wait_for_odometry_and_unknown_stamps_are_refused():
    stamps, true, reported = square(drift=0.005)
    graph = fed(stamps[:200], reported[:200])
    early = graph.add_closure(stamps[0] - 2 * SECOND, stamps[150], with_covariance(flat(0, 0, 0), TIGHT))
    later = graph.add_closure(stamps[40], stamps[360], with_covariance(relative(true[40], true[360]), TIGHT))
    same = graph.add_closure(stamps[100], stamps[100], with_covariance(flat(0, 0, 0), TIGHT))
    judged = graph.optimize()
    assert judged[early].verdict == judged[same].verdict == Verdict.UNUSABLE
    assert 'no odometry at the stamp of the match' in judged[early].reason
    assert judged[later].verdict == Verdict.WAITING
    assert graph.waiting == 1
    for stamp, pose in zip(stamps[200:], reported[200:]):
        graph.add_odometry(stamp, pose)
    assert verdict(graph, later) == Verdict.ACCEPTED
    assert graph.pose_at(stamps[-1] + 5 * SECOND) is None


def test_numbers_that_the_optimiser_fails_on_leave_the_graph_as_it_was(monkeypatch):
    stamps, true, reported = square(drift=0.005)
    graph = fed(stamps, reported)
    good = graph.add_closure(stamps[40], stamps[360], with_covariance(relative(true[40], true[360]), TIGHT))
    assert verdict(graph, good) == Verdict.ACCEPTED
    before = [pose.translation for _, pose in path_of(graph)]

    def fail(self, factors):
        raise RuntimeError('Indeterminant linear system')
    monkeypatch.setattr(Optimizer, 'solve', fail)
    bad = graph.add_closure(stamps[50], stamps[370], with_covariance(relative(true[50], true[370]), TIGHT))
    judged = graph.optimize()
    assert judged[bad].verdict == Verdict.UNUSABLE and 'Indeterminant' in judged[bad].reason
    assert judged[good].verdict == Verdict.ACCEPTED
    assert np.allclose(before, [pose.translation for _, pose in path_of(graph)])
    monkeypatch.undo()
    later = graph.add_closure(stamps[60], stamps[380], with_covariance(relative(true[60], true[380]), TIGHT))
    assert verdict(graph, later) == Verdict.ACCEPTED


@pytest.mark.parametrize('size', [1e300, 1e-300, 1e154])
def test_covariances_beyond_reason_never_end_the_graph(size):
    stamps, true, reported = square(drift=0.005)
    graph = fed(stamps, reported)
    odd = graph.add_closure(stamps[40], stamps[360], with_covariance(relative(true[40], true[360]), np.eye(6) * size))
    assert graph.optimize()[odd].verdict in (Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNUSABLE)
    later = graph.add_closure(stamps[60], stamps[380], with_covariance(relative(true[60], true[380]), TIGHT))
    assert verdict(graph, later) == Verdict.ACCEPTED


def test_a_closure_across_a_gap_of_odometry_is_refused():
    stamps, _, reported = square()
    graph = fed(stamps[:100] + stamps[200:], reported[:100] + reported[200:])
    number = graph.add_closure(stamps[150], stamps[500], with_covariance(flat(0, 0, 0), TIGHT))
    assert graph.optimize()[number].reason == 'there is no odometry at the stamp of the match'


def test_a_backwards_clock_begins_a_new_graph_and_late_odometry_does_not():
    stamps, _, reported = square(laps=1)
    graph = fed(stamps, reported)
    nodes = graph.nodes
    number = graph.add_closure(stamps[0], stamps[300], with_covariance(flat(0, 0, 0), TIGHT))
    graph.optimize()
    assert not graph.add_odometry(stamps[-1] - SECOND // 2, reported[-6])
    assert graph.nodes == nodes
    assert not graph.add_odometry(stamps[-1] - 2 * SECOND, reported[0])  # it may be one stamp that is wrong
    assert graph.add_odometry(stamps[-1] - 2 * SECOND + 1, reported[0])
    assert graph.nodes == 1
    assert graph.optimize() == {}
    assert graph.add_closure(stamps[0], stamps[1], flat(0, 0, 0)) == number + 1


def test_a_standing_robot_makes_no_nodes():
    graph = PoseGraph()
    for k in range(1000):
        graph.add_odometry(SECOND + k * SECOND // 10, flat(0, 0, 0))
    assert graph.nodes == 1
    assert len(path_of(graph)) == 2


@pytest.mark.parametrize('covariance', [np.full((6, 6), np.nan), -np.eye(6), np.eye(5)])
def test_what_is_no_covariance_is_refused(covariance):
    with pytest.raises(SegvladError, match='covariance'):
        PoseGraph().add_closure(SECOND, 2 * SECOND, with_covariance(flat(0, 0, 0), covariance))


def test_an_unknown_covariance_is_allowed():
    stamps, true, reported = square(drift=0.005)
    graph = fed(stamps, reported)
    assert verdict(graph, graph.add_closure(stamps[40], stamps[360], relative(true[40], true[360]))) == Verdict.ACCEPTED


def test_odometry_of_a_parked_robot_is_hardly_kept():
    graph = PoseGraph()
    for number in range(20 * 600):  # ten minutes at 20 Hz
        graph.add_odometry(SECOND + number * SECOND // 20, flat(1.0, 2.0, 0.3))
    assert len(graph._chain._track) == 2
    assert graph.nodes == 1
    assert graph.pose_at(SECOND + 300 * SECOND + 7).translation[:2] == pytest.approx([1.0, 2.0])
