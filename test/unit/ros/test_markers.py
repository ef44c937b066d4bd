"""Dots and lines for RViz."""
import numpy as np
from visualization_msgs.msg import Marker

from segvlad_ros.ros.markers import keyframe_markers, marker_array, match_markers
from segvlad_ros.types import Pose


def pose(x, frame='map'):
    return Pose(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), frame)


def test_dots_by_frame_and_none_without_a_pose():
    markers = keyframe_markers([pose(1), None, pose(2), pose(3, 'odom'), pose(4, '')], 10**9)
    assert {m.header.frame_id: [p.x for p in m.points] for m in markers} == {'map': [1.0, 2.0], 'odom': [3.0]}
    assert all(m.type == Marker.SPHERE_LIST and m.scale.x > 0 and m.color.a == 1 for m in markers)


def test_lines_only_within_one_frame():
    markers = match_markers([(pose(1), pose(5)), (pose(1), pose(5, 'odom'))], (pose(2), pose(6)), 10**9)
    assert [(m.ns, [p.x for p in m.points]) for m in markers] == [
        ('accepted in map', [1.0, 5.0]), ('candidate in map', [2.0, 6.0])]
    assert markers[0].color != markers[1].color
    assert match_markers([], None, 0) == []


def test_old_markers_go_first():
    assert [m.action for m in marker_array(keyframe_markers([pose(1)], 0)).markers] == [Marker.DELETEALL, Marker.ADD]
