"""Dots, lines and words for RViz."""
from dataclasses import replace

import numpy as np
import pytest
from visualization_msgs.msg import Marker

from segvlad_ros.recognition.evidence import Evidence
from segvlad_ros.recognition.hypotheses import Support
from segvlad_ros.ros.output.marker_blocks import BLOCK
from segvlad_ros.ros.output.markers import KeyframeMarkers, MatchMarkers, graph_markers, short_reason
from segvlad_ros.types import Candidate, KeyframeId, Pose, Recognition, Status

LOW, AMBIGUOUS, TEMPORAL = Status.NO_MATCH_LOW_SCORE, Status.NO_MATCH_AMBIGUOUS, Status.NO_MATCH_TEMPORAL
GEOMETRIC, MATCHED = Status.NO_MATCH_GEOMETRIC, Status.MATCHED


def pose(x, frame='map'):
    return Pose(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), frame)


def answer(status):
    best = Candidate(0, KeyframeId(0, 's', 1, 1), 0.12, 0.95, 5, supporting_queries=1, inliers=7)
    return Recognition(status, 'a long reason', (best,))


def shown(matches):
    """Ends of the lines by namespace, and the words with their places."""
    markers = matches.markers(10**9, whole=True)
    lines = {m.ns: [p.x for p in m.points] for m in markers if m.type == Marker.LINE_LIST}
    words = [(m.text, m.pose.position.x) for m in markers if m.type == Marker.TEXT_VIEW_FACING]
    assert len({(m.ns, m.id) for m in markers}) == len(markers)  # RViz refuses doubles
    assert all(m.scale.z > 0 and m.color.a == 1 and m.pose.orientation.w == 1 and m.frame_locked for m in markers)
    return lines, words


def identity(index):
    return KeyframeId(0, 's', index, index)


class Viewer:
    """What RViz shows: markers by namespace and id."""

    def __init__(self, *parts):
        self.parts, self.shown = parts, {}

    def look(self, whole=False):
        """Take what is published, and return how many markers that were."""
        if whole:
            self.shown.clear()
        markers = [marker for part in self.parts for marker in part.markers(10**9, whole)]
        for marker in markers:
            if marker.action == Marker.DELETE:
                del self.shown[marker.ns, marker.id]  # RViz complains of what it does not have
            else:
                self.shown[marker.ns, marker.id] = marker
        return len(markers)

    def points(self, namespace):
        return [p.x for (ns, _), marker in sorted(self.shown.items()) if ns == namespace for p in marker.points]


def test_a_keyframe_costs_the_marker_that_it_is_in():
    keyframes = KeyframeMarkers()
    for index in range(5 * BLOCK):
        keyframes.place(identity(index), pose(index))
    viewer = Viewer(keyframes)
    assert (viewer.look(whole=True), viewer.look()) == (5, 0)
    keyframes.place(identity(5 * BLOCK), pose(-1))
    assert viewer.look() == 1
    keyframes.place(identity(7), pose(-7))  # moved
    assert viewer.look() == 1
    xs = list(range(5 * BLOCK))
    xs[7] = -7
    assert viewer.points('keyframes in map') == [*xs, -1]
    late = Viewer(keyframes)
    assert (late.look(whole=True), late.shown) == (6, viewer.shown)


def test_keyframes_that_get_another_frame_leave_the_old_one():
    keyframes = KeyframeMarkers()
    for index in range(BLOCK + 3):
        keyframes.place(identity(index), pose(index, 'odom'))
    viewer = Viewer(keyframes)
    viewer.look(whole=True)
    for index in range(BLOCK, BLOCK + 3):
        keyframes.place(identity(index), pose(-index, 'map'))
        viewer.look()
    assert set(viewer.shown) == {('keyframes in odom', 0), ('keyframes in map', 1)}
    assert viewer.points('keyframes in map') == [-200, -201, -202]
    keyframes.place(identity(BLOCK), None)
    viewer.look()
    assert viewer.points('keyframes in map') == [-201, -202]


def test_matches_in_pieces_are_what_they_are_as_a_whole():
    matches = MatchMarkers(accepted=BLOCK, rejected=3)
    viewer, rng = Viewer(matches), np.random.default_rng(0)
    statuses = [MATCHED, MATCHED, AMBIGUOUS, TEMPORAL, LOW, GEOMETRIC]
    for number in range(4 * BLOCK):
        status = statuses[rng.integers(len(statuses))]
        matches.add(answer(status), pose(number, 'odom'), pose(-number, 'odom' if number % 7 else 'map'))
        assert viewer.look() <= 12
    pieces = {key: [(p.x, m.text) for p in m.points] + [m.text] for key, m in viewer.shown.items()}
    viewer.look(whole=True)
    assert pieces == {key: [(p.x, m.text) for p in m.points] + [m.text] for key, m in viewer.shown.items()}
    assert len(viewer.points('accepted in odom')) <= 2 * BLOCK


def test_dots_by_frame_and_none_without_a_pose():
    keyframes = KeyframeMarkers()
    for index, where in enumerate([pose(1), None, pose(2), pose(3, 'odom'), pose(4, '')]):
        keyframes.place(identity(index), where)
    markers = keyframes.markers(10**9, whole=True)
    assert {m.header.frame_id: [p.x for p in m.points] for m in markers} == {'map': [1.0, 2.0], 'odom': [3.0]}
    assert all(m.type == Marker.SPHERE_LIST and m.scale.x > 0 and m.color.a == 1 for m in markers)


def test_accepted_matches_are_green_lines_and_rejected_ones_red_with_their_reason():
    matches = MatchMarkers()
    matches.add(answer(MATCHED), pose(1), pose(5))
    matches.add(answer(AMBIGUOUS), pose(2), pose(6))
    matches.add(answer(GEOMETRIC), pose(3), pose(7))
    assert shown(matches) == ({'accepted in map': [1, 5], 'rejected in map': [2, 6, 3, 7]},
                              [('ambiguous 0.95', 2), ('geometry: seen from elsewhere', 3)])
    green, red, *words = matches.markers(0, whole=True)
    assert green.color.g > green.color.r
    assert red.color.r > red.color.g
    assert all(word.color == red.color and word.pose.position.z > 0 for word in words)


def test_what_waits_for_agreement_is_yellow_until_it_is_decided():
    matches = MatchMarkers()
    for x in (1, 2):
        matches.add(answer(TEMPORAL), pose(x), pose(x + 4))
    assert shown(matches) == ({'waiting in map': [1, 5, 2, 6]},
                              [('only 1 keyframe agrees', 1), ('only 1 keyframe agrees', 2)])
    yellow = matches.markers(0, whole=True)[0].color
    assert min(yellow.r, yellow.g) > 0.5 > yellow.b
    matches.add(answer(MATCHED), pose(3), pose(7))
    assert shown(matches) == ({'accepted in map': [3, 7]}, [])
    matches.add(answer(TEMPORAL), pose(4), pose(8))
    matches.add(Recognition(Status.QUERY_REJECTED, 'dark'), pose(5), None)
    assert shown(matches) == ({'accepted in map': [3, 7], 'rejected in map': [4, 8]}, [('only 1 keyframe agrees', 4)])


def test_what_odometry_contradicts_does_not_wait():
    for expected, line, word in ((False, 'rejected in map', 'odometry contradicts'),
                                 (None, 'waiting in map', 'only 1 keyframe agrees')):
        matches = MatchMarkers()
        evidence = Evidence(4, 0.5, support=Support(expected=expected))
        matches.add(replace(answer(TEMPORAL), evidence=evidence), pose(1), pose(5))
        assert shown(matches) == ({line: [1, 5]}, [(word, 1)])


def test_a_low_score_has_a_word_until_the_next_answer_and_no_line():
    matches = MatchMarkers()
    matches.add(answer(LOW), pose(1), pose(5))
    assert shown(matches) == ({}, [('low score 0.12', 1)])
    likely = answer(LOW)
    matches.add(replace(likely, candidates=(replace(likely.candidates[0], probability=0.3),)), pose(1), pose(5))
    assert shown(matches) == ({}, [('probability 0.30', 1)])
    matches.add(Recognition(Status.MAP_ONLY_RECENT, 'young'), pose(2), None)
    assert shown(matches) == ({}, [])


def test_lines_only_within_one_frame():
    matches = MatchMarkers()
    matches.add(answer(MATCHED), pose(1), pose(5, 'odom'))
    matches.add(answer(MATCHED), pose(2, 'odom'), pose(6, 'odom'))
    matches.add(answer(AMBIGUOUS), pose(3), pose(7, 'odom'))
    assert shown(matches) == ({'accepted in odom': [2, 6]}, [('ambiguous 0.95', 3)])


@pytest.mark.parametrize(('query', 'match'), [(None, pose(1)), (pose(1, ''), pose(1, '')), (None, None)])
def test_what_has_no_pose_is_not_shown(query, match):
    matches = MatchMarkers()
    for status in Status:
        matches.add(answer(status), query, match)
    assert shown(matches) == ({}, [])


def test_a_map_entry_without_a_pose_has_no_line():
    matches = MatchMarkers()
    matches.add(answer(MATCHED), pose(1), None)
    matches.add(answer(AMBIGUOUS), pose(2), None)
    assert shown(matches) == ({}, [('ambiguous 0.95', 2)])


def test_the_number_of_markers_is_bounded_and_the_latest_stay():
    matches = MatchMarkers(accepted=3, rejected=2)
    for x in range(10):
        matches.add(answer(MATCHED), pose(x), pose(x))
        matches.add(answer(AMBIGUOUS), pose(x), pose(x))
    for x in range(10, 20):
        matches.add(answer(TEMPORAL), pose(x), pose(x))
    assert shown(matches) == ({'accepted in map': [7, 7, 8, 8, 9, 9], 'rejected in map': [8, 8, 9, 9],
                               'waiting in map': [18, 18, 19, 19]},
                              [('only 1 keyframe agrees', 18), ('only 1 keyframe agrees', 19),
                               ('ambiguous 0.95', 8), ('ambiguous 0.95', 9)])
    matches.clear()
    assert matches.markers(0, whole=True) == []


def test_every_status_has_a_short_reason():
    reasons = {short_reason(answer(status)) for status in Status} | {
        short_reason(Recognition(status, 'long')) for status in Status}
    assert all(0 < len(reason) <= 30 for reason in reasons)


def test_closures_of_a_graph():
    ends = np.arange(12.0).reshape(4, 3)
    first, green = graph_markers('map', 10**9, ends, ends[:0]).markers
    assert (first.action, green.ns, green.header.frame_id) == (Marker.DELETEALL, 'accepted', 'map')
    assert [(p.x, p.y, p.z) for p in green.points] == [tuple(end) for end in ends.tolist()]


@pytest.mark.fault('memory', 'keyframes that come and go in RViz', 'the markers stay few')
def test_keyframes_that_come_and_go_for_months_share_the_same_few_markers():
    keyframes = KeyframeMarkers()
    for number in range(3 * BLOCK):
        keyframes.place(identity(number), pose(number))
        if number >= 10:
            keyframes.place(identity(number - 10), None)
    markers = keyframes.markers(1, True)
    assert [(marker.id, len(marker.points)) for marker in markers] == [(0, 10)]
