"""What nav2's lifecycle manager asks of its nodes, in its order.

The manager is C++ and has no wheel. The stand-in calls the same services by the same names as
nav2_lifecycle_manager/src/lifecycle_manager.cpp does, from Humble to Kilted: it does not look at what change_state
answers, but asks for the state then. An answer that never comes would stop the real one for good.
"""
import importlib.util

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_harness import Peer, Robot, image_message, real_images, reliable

CONFIGURE, CLEAN_UP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
SHUT_DOWN = Transition.TRANSITION_UNCONFIGURED_SHUTDOWN
LEADS_TO = {CONFIGURE: State.PRIMARY_STATE_INACTIVE, CLEAN_UP: State.PRIMARY_STATE_UNCONFIGURED,
            ACTIVATE: State.PRIMARY_STATE_ACTIVE, DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
            SHUT_DOWN: State.PRIMARY_STATE_FINALIZED}
PARAMETERS = {'map_builder': {'map': 'office'}, 'localizer': {'source': 'descriptors'},
              'bridge': {'target': 'initial_pose'}, 'pose_graph': {}}
NODES = [name for name in PARAMETERS if name != 'pose_graph' or importlib.util.find_spec('gtsam')]


class Manager:
    """Brings its nodes up in the order of their names, and down in the opposite one."""

    def __init__(self, peer, names):
        self._peer, self._names = peer, names

    def ask(self, *transitions, hard=False):
        """Ask all nodes for some transitions; the first that is not where it should be ends it, unless ``hard``."""
        for transition in transitions:
            up = transition in (CONFIGURE, ACTIVATE)
            for name in self._names if up else reversed(self._names):
                self._peer.call(ChangeState, f'{name}/change_state', transition=Transition(id=transition))
                state = self._peer.call(GetState, f'{name}/get_state').current_state
                if state.id != LEADS_TO[transition] and not hard:
                    return f'{name} is {state.label}'
        return ''


@pytest.fixture
def nodes(robot):
    """Real nodes that wait for a manager, by name."""
    return {name: robot(name, {**PARAMETERS[name], 'autostart': False}, wait=False) for name in NODES}


def test_startup_pause_resume_reset_and_shutdown(nodes, peer):
    manager = Manager(peer, list(nodes))
    assert manager.ask(ACTIVATE) == 'map_builder is unconfigured'
    for _ in range(2):
        assert not manager.ask(CONFIGURE, ACTIVATE)  # startup
        assert not manager.ask(DEACTIVATE)  # pause
        assert not manager.ask(DEACTIVATE)  # who is paused may be told to pause
        assert not manager.ask(ACTIVATE)  # resume
        assert not manager.ask(DEACTIVATE, CLEAN_UP)  # reset
    assert not manager.ask(CONFIGURE, ACTIVATE)
    assert not manager.ask(DEACTIVATE, CLEAN_UP, SHUT_DOWN)  # shutdown


@pytest.mark.fault('node', "a node of nav2's lifecycle manager is started again",
                   'it answers to a reset that is not possible now, and is brought up in the map of its run')
def test_a_node_that_died_is_brought_up_again_with_the_others(context, peer, robot, launch, monkeypatch):
    """As ``attempt_respawn_reconnection`` does it: a hard reset of all, of which the new process is asked, too."""
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')  # see test_map_builder
    parameters = {'map': 'office', 'run_id': 'monday', 'autostart': False, **reliable(peer.namespace, 'image')}
    builder = robot('map_builder', parameters, wait=False)
    robot('bridge', {**PARAMETERS['bridge'], 'autostart': False}, wait=False)
    names = ['map_builder', 'bridge']
    assert not Manager(peer, names).ask(CONFIGURE, ACTIVATE)
    builder.running()
    picture, = real_images('hololens_office/images', [0], (160, 120))
    assert builder.send(builder.camera(), image_message(picture, 1.0)).keyframes == 1
    builder.node.kill()
    respawned = launch('map_builder', parameters)
    later = Peer(context, peer.namespace)  # to whom the dead one was never there
    try:
        manager, again = Manager(later, names), Robot(later, respawned)
        manager.ask(DEACTIVATE, CLEAN_UP, hard=True)
        assert not manager.ask(CONFIGURE, ACTIVATE)
        assert again.running().keyframes == 1
    finally:
        later.close()
