"""A node ends with status 0, whenever and however often it is told to."""
import signal

import pytest

from segvlad_ros.msg import SegVladStatus


@pytest.mark.parametrize('signals', [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT],
                                     [signal.SIGINT, signal.SIGTERM, signal.SIGINT]],
                         ids=lambda signals: '+'.join(s.name for s in signals))
def test_signals_end_a_running_node_cleanly(robot, signals):
    running = robot('localizer', {'source': 'descriptors'})
    for number in signals:
        running.node.process.send_signal(number)
    assert running.node.wait() == 0, running.node.text()
    assert 'Traceback' not in running.node.text()


def test_a_signal_while_loading_ends_it_too(robot):
    loading = robot('map_builder', wait=False)
    loading.status(lambda s: s.state != SegVladStatus.UNCONFIGURED, 'a status')
    loading.node.process.send_signal(signal.SIGINT)
    assert loading.node.wait() == 0, loading.node.text()
    assert 'Traceback' not in loading.node.text()
