"""What of the SLAM back-end is there without GTSAM: the launch file, and the line that says what to install."""
import runpy
from pathlib import Path

import pytest

from segvlad_ros.io.extras import import_extra
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.ros.node.launch_arguments import arguments_of, parameters_of, remappings_of
from segvlad_ros.ros.node.parameter_table import table_of
from segvlad_ros.slam.odometry_chain import PoseGraphSettings
from segvlad_ros.types import SegvladError

ROOT = Path(__file__).resolve().parents[3]


def test_slam_launch_closes_the_circle():
    nodes = runpy.run_path(str(ROOT / 'launch' / 'slam.launch.py'))['NODES']
    values = {argument.name: argument.default for argument in arguments_of(nodes)} | {'odom': '/wheel/odom'}
    connected = {node.executable: dict(remappings_of(node, values)) for node in nodes}
    assert connected['map_builder'] == {
        'odom': '/wheel/odom', 'optimized_path': 'pose_graph/path',
        'loop_closure_feedback': 'pose_graph/loop_closure_feedback'}
    assert connected['localizer'] == {
        'keyframes': 'map_builder/keyframes', 'get_keyframe': 'map_builder/get_keyframe',
        'removed_keyframes': 'map_builder/removed_keyframes',
        'loop_closure_feedback': 'pose_graph/loop_closure_feedback', 'optimized_path': 'pose_graph/path'}
    assert connected['pose_graph'] == {
        'odom': '/wheel/odom', 'loop_closures': 'localizer/loop_closures', 'matches': 'localizer/matches'}
    localizer = next(node for node in nodes if node.executable == 'localizer')
    assert parameters_of(localizer, values)['source'] == 'descriptors'


def test_a_missing_package_is_named_as_pip_wants_it():
    with pytest.raises(SegvladError, match=r"pip install 'gtsam>=4\.3'$") as refused:
        import_extra('gtsam.that_nobody_has')
    assert '\n' not in str(refused.value)


def test_the_node_has_the_defaults_of_the_room():
    table = {entry.name: entry.default for entry in table_of('pose_graph')}
    settings = PoseGraphSettings()
    assert (table['node_distance_m'], table['node_angle_rad']) == (settings.node_distance_m, settings.node_angle_rad)
    assert table['drift_rad_per_rad'] == settings.drift_rad_per_rad
    assert load_preset(table['preset']).odometry == settings.odometry
    assert [table[f'closure.added_{unit}'] for unit in ('m', 'rad')] == [
        settings.closure_translation_m, settings.closure_rotation_rad]
