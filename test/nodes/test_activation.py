"""An activation that fails takes back all that it has opened, or the next one would take every message twice."""
import os

import pytest

from segvlad_ros.nodes.bridge import BridgeNode
from segvlad_ros.nodes.localizer import Localizer
from segvlad_ros.nodes.map_builder import MapBuilder
from segvlad_ros.nodes.pose_graph import PoseGraphNode
from segvlad_ros.ros.node.bond import Bond


@pytest.fixture
def start(in_process, tmp_path):
    """Configures a node in this process."""
    def make(kind, **parameters):
        if kind is PoseGraphNode and not os.environ.get('SEGVLAD_REQUIRE_SLAM'):
            pytest.importorskip('gtsam')
        return in_process(kind, map_directory=tmp_path, **parameters)
    return make


def opened(node):
    """What a node has open: names of topics and services, and how many timers."""
    return (sorted(one.topic_name for one in node.subscriptions), sorted(one.topic_name for one in node.publishers),
            sorted(one.srv_name for one in node.clients), len(list(node.timers)))


NODES = [(MapBuilder, {'retention.max_keyframes': 100}), (Localizer, {}), (Localizer, {'source': 'descriptors'}),
         pytest.param(PoseGraphNode, {}, marks=pytest.mark.slam), (BridgeNode, {'target': 'initial_pose'})]


@pytest.mark.parametrize(('kind', 'parameters'), NODES)
def test_what_activation_opens_deactivation_closes(start, kind, parameters):
    node = start(kind, **parameters)
    before = opened(node)
    for _ in range(2):
        assert node.trigger_activate().name == 'SUCCESS', node.failure
        assert opened(node) != before
        assert node.trigger_deactivate().name == 'SUCCESS', node.failure
        assert opened(node) == before


@pytest.mark.fault('node', 'an activation that fails half-way, such as by a bad `qos_overrides`',
                   'one line; all that it has opened is closed again')
@pytest.mark.parametrize(('kind', 'parameters', 'topic'), [
    (MapBuilder, {}, 'image'), (MapBuilder, {'retention.max_keyframes': 100}, 'loop_closure_feedback'),
    (Localizer, {}, 'image'), (Localizer, {}, 'optimized_path'),
    (Localizer, {'source': 'descriptors'}, 'removed_keyframes'),
    pytest.param(PoseGraphNode, {}, 'loop_closures', marks=pytest.mark.slam),
    (BridgeNode, {'target': 'initial_pose'}, 'matches')])
def test_an_activation_that_fails_leaves_nothing_open(start, kind, parameters, topic, capfd):
    node = start(kind, **{f'qos_overrides./{topic}.subscription.reliability': 'sometimes'}, **parameters)
    before = opened(node)
    for _ in range(2):
        assert node.trigger_activate().name == 'FAILURE'
        assert f'cannot activate: cannot subscribe to /{topic}: ' in node.failure
        assert '`sometimes`; look at the parameters qos_overrides.' in node.failure
        assert opened(node) == before
    assert 'Traceback' not in capfd.readouterr().err


@pytest.mark.parametrize(('policy', 'value'), [('depth', 'many'), ('depth', -1), ('depth', 10**12), ('history', 'no')])
def test_other_overrides_that_cannot_be_are_named_too(start, policy, value):
    node = start(BridgeNode, target='initial_pose', **{f'qos_overrides./matches.subscription.{policy}': value})
    assert node.trigger_activate().name == 'FAILURE'
    assert 'qos_overrides./matches.subscription.*' in node.failure


def test_a_bond_that_cannot_be_formed_leaves_nothing_open(start, monkeypatch):
    def form(bond):
        raise OSError('no more')
    monkeypatch.setattr(Bond, 'form', form)
    node = start(MapBuilder, autostart='false')
    before = opened(node)
    assert node.trigger_activate().name == 'FAILURE'
    assert (node.failure, opened(node)) == ('cannot activate: OSError: no more', before)
