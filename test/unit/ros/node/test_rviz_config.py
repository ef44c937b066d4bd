"""The RViz configuration: displays that RViz has, and topics as the nodes publish them."""
from pathlib import Path

import pytest
import yaml

from segvlad_ros.ros.node.interface_table import BEST_EFFORT, LATCHED, OUTPUTS
from segvlad_ros.ros.node.launching import RVIZ_CONFIG

ROOT = Path(__file__).resolve().parents[4]
CONFIG = yaml.safe_load((ROOT / RVIZ_CONFIG).read_text())
MANAGER = CONFIG['Visualization Manager']
DISPLAYS = {display['Name']: display for display in MANAGER['Displays']}
# What RViz 2 (Jazzy) brings along: rviz_default_plugins/plugins_description.xml
KNOWN = {f'rviz_default_plugins/{name}' for name in (
    'Grid', 'TF', 'MarkerArray', 'Path', 'Image', 'Interact', 'MoveCamera', 'Select', 'FocusCamera', 'Measure',
    'Orbit')}
EXPECTED = {
    'Keyframes': ('map_builder/markers', 'MarkerArray'),
    'Matches': ('localizer/markers', 'MarkerArray'),
    'Match image': ('localizer/match_image', 'Image'),
    'Closures': ('pose_graph/markers', 'MarkerArray'),
    'Optimised path': ('pose_graph/path', 'Path'),
}


def published(node):
    """The topics of a node: ``~/markers`` of map_builder is map_builder/markers."""
    return {endpoint.name.replace('~', node): endpoint for endpoint in OUTPUTS if node in endpoint.nodes}


def test_every_class_is_one_of_rviz():
    classes = [item['Class'] for item in (*MANAGER['Displays'], *MANAGER['Tools'], MANAGER['Views']['Current'],
                                          MANAGER['Transformation']['Current'])]
    assert set(classes) <= KNOWN
    assert all(panel['Class'] == 'rviz_common/Displays' for panel in CONFIG['Panels'])


def test_the_displays_that_people_need_are_there_and_on():
    assert {display['Class'].split('/')[1] for display in DISPLAYS.values()} == {
        'Grid', 'TF', 'MarkerArray', 'Path', 'Image'}
    assert {name: display['Topic']['Value'] for name, display in DISPLAYS.items() if 'Topic' in display} == {
        name: topic for name, (topic, _) in EXPECTED.items()}
    assert all(display['Enabled'] and display['Value'] for display in DISPLAYS.values())
    assert MANAGER['Global Options']['Fixed Frame'] == 'map'  # the launch files set another: see test_launching


@pytest.mark.parametrize('name', EXPECTED)
def test_a_display_subscribes_to_what_a_node_publishes(name):
    topic, kind = EXPECTED[name]
    endpoint = published(topic.split('/')[0])[topic]
    display = DISPLAYS[name]
    assert endpoint.type_name.split('/')[1] == kind
    assert display['Class'] == f'rviz_default_plugins/{kind}'
    wanted = display['Topic']
    assert wanted['History Policy'] == 'Keep Last'
    assert wanted['Depth'] >= 1
    # a latched topic keeps its last message for who comes late; asking for that elsewhere would receive nothing
    assert wanted['Durability Policy'] == ('Transient Local' if endpoint.reliability == LATCHED else 'Volatile')
    # nor does a reliable subscription receive from a best-effort publisher
    assert wanted['Reliability Policy'] == ('Best Effort' if endpoint.reliability == BEST_EFFORT else 'Reliable')


def test_panels_and_pictures_are_docked_in_the_window():
    """Qt writes the names of docked widgets as UTF-16; RViz lets others float over the window."""
    window = CONFIG['Window Geometry']
    state = bytes.fromhex(window['QMainWindow State'])
    for name in ('Displays', 'Match image'):
        assert name.encode('utf-16-be') in state
        assert window[name] == {'collapsed': False}
