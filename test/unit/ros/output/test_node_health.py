"""Counters, percentiles, and what diagnostics make of them; what the core logs reaches the node's logger."""
import logging
import math

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from segvlad_ros.pipeline.presets import load_preset, preset_names
from segvlad_ros.ros.node.log_bridge import LogBridge
from segvlad_ros.ros.node.parameter_table import TABLE
from segvlad_ros.ros.output.diagnostics import Awaited, arrivals, decision_status, input_status, worker_status
from segvlad_ros.ros.output.node_statistics import Statistics

PARAMETERS = {entry.name: entry.default for entry in TABLE}


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def statistics(clock):
    return Statistics(lambda: clock[0])


def values(status):
    return {value.key: value.value for value in status.values}


def told(awaited, snapshot, parameters=PARAMETERS):
    return input_status('/n', arrivals(awaited, snapshot, parameters), snapshot, parameters)


def test_rates_ratios_and_percentiles(statistics, clock):
    for _ in range(11):
        received = statistics.arrived()
        clock[0] += 0.1
        statistics.passed()
        statistics.handled(received, {'search': 0.05})
    statistics.dropped()
    snapshot = statistics.snapshot()
    assert snapshot.input_rate_hz == pytest.approx(10.0)
    assert snapshot.drop_ratio == pytest.approx(1 / 12)
    assert snapshot.latency_p95_s == pytest.approx(0.1)
    assert snapshot.stages == {'search': (pytest.approx(0.05), pytest.approx(0.05))}
    assert snapshot.counts.keyframes_processed == 11
    assert (snapshot.counts.images_received, snapshot.counts.images_dropped) == (1, 1)
    assert snapshot.input_age_s == pytest.approx(0.1)
    assert math.isnan(snapshot.match_age_s)
    statistics.matched()
    clock[0] += 3.0
    assert statistics.snapshot().match_age_s == pytest.approx(3.0)


def test_nothing_yet_is_unknown_not_zero(statistics):
    snapshot = statistics.snapshot()
    assert math.isnan(snapshot.latency_p50_s)
    assert math.isnan(snapshot.input_rate_hz)
    assert snapshot.input_age_s == math.inf
    status = worker_status('/n', snapshot, PARAMETERS, errors=0, in_a_row=0, last_error='')
    assert values(status)['latency p95 [s]'] == 'unknown'
    assert status.level == DiagnosticStatus.OK


def test_silence_is_a_warning_with_the_topic(statistics):
    snapshot = statistics.snapshot()
    status = told(Awaited('images', '/camera/image', 7.0), snapshot)
    assert (status.level, status.name) == (DiagnosticStatus.WARN, '/n: input')
    assert status.message == 'no images for 7 s on /camera/image'
    status = told(Awaited('keyframes', '/k', 1.0), snapshot)
    assert (status.level, status.message) == (DiagnosticStatus.OK, 'keyframes arrive')
    assert told(None, snapshot).message == 'not active'


def test_who_may_rest_is_not_warned_of(statistics):
    status = told(Awaited('keyframes', '/k', 300.0, may_rest=True), statistics.snapshot())
    assert (status.level, status.message) == (
        DiagnosticStatus.OK, 'no keyframes for 300 s on /k: the robot seems to be standing still')


IMAGES = Awaited('images', '/camera/image', 0.0, against_loss={'images': 'pray', 'depth_images': 'hope'})


def test_lost_images_are_counted_and_a_share_is_warned_of(statistics):
    statistics.lost('images', 0)  # the middleware can tell
    for _ in range(40):
        statistics.came('images')
    statistics.lost('images', 2)
    assert told(IMAGES, statistics.snapshot()).level == DiagnosticStatus.OK
    statistics.lost('images', 50)
    snapshot = statistics.snapshot()
    assert (snapshot.counts.images_lost, snapshot.lost_ratios) == (52, {'images': pytest.approx(52 / 92)})
    status = told(IMAGES, snapshot)
    assert (status.level, status.message) == (
        DiagnosticStatus.WARN, '57% of the images are lost before they reach this node: pray')
    statistics.lost('images', 10**9)  # more than is remembered
    assert statistics.snapshot().lost_ratios == {'images': 1.0}
    for _ in range(100):
        statistics.came('images')
    assert told(IMAGES, statistics.snapshot()).level == DiagnosticStatus.OK


def test_depth_images_are_lost_by_themselves(statistics):
    statistics.lost('images', 0)
    statistics.lost('depth_images', 3)
    statistics.came('depth_images')
    status = told(IMAGES, statistics.snapshot())
    assert (status.level, status.message) == (
        DiagnosticStatus.WARN, '75% of the depth images are lost before they reach this node: hope')
    assert (values(status)['images lost'], values(status)['depth images lost']) == ('0', '3')


def test_all_that_is_wrong_is_said_the_worst_first(statistics):
    for what in ('images', 'depth_images'):
        statistics.lost(what, 3)
        statistics.came(what)
    statistics.passed()
    for _ in range(3):
        statistics.dropped()
    limits = {**PARAMETERS, 'diagnostics.drop_ratio_error': 0.5}
    status = told(IMAGES, statistics.snapshot(), limits)
    assert (status.level, status.message) == (
        DiagnosticStatus.ERROR, '75% of the images are dropped; 75% of the images are lost before they reach this '
        'node: pray; 75% of the depth images are lost before they reach this node: hope')


@pytest.mark.parametrize('tells', [False, True])
def test_stamps_tell_of_losses_where_the_middleware_does_not(statistics, tells):
    if tells:
        statistics.lost('images', 0)
    for number in range(100):
        if number % 5 < 2:
            statistics.arrived(10**12 + number * 33_333_333)
    snapshot = statistics.snapshot()
    assert snapshot.missing_ratio == pytest.approx(0.6, abs=0.02)
    status = told(IMAGES, snapshot)
    assert (status.level == DiagnosticStatus.WARN) is not tells
    assert ('by their stamps, about 59%' in status.message) is not tells


@pytest.mark.parametrize(('drops', 'level'), [(0, DiagnosticStatus.OK), (19, DiagnosticStatus.WARN),
                                              (99, DiagnosticStatus.ERROR)])
def test_drops_have_thresholds(statistics, drops, level):
    limits = {**PARAMETERS, 'diagnostics.drop_ratio_warn': 0.9, 'diagnostics.drop_ratio_error': 0.98}
    statistics.passed()
    for _ in range(drops):
        statistics.dropped()
    assert told(IMAGES, statistics.snapshot(), limits).level == level


@pytest.mark.parametrize(('seconds', 'level'), [(0.5, DiagnosticStatus.OK), (2.0, DiagnosticStatus.WARN),
                                                (9.0, DiagnosticStatus.ERROR)])
def test_latency_has_thresholds(statistics, clock, seconds, level):
    received = statistics.arrived()
    clock[0] += seconds
    statistics.handled(received, {})
    status = worker_status('/n', statistics.snapshot(), PARAMETERS, errors=0, in_a_row=0, last_error='')
    assert status.level == level


@pytest.mark.parametrize(('in_a_row', 'level'), [(1, DiagnosticStatus.WARN), (3, DiagnosticStatus.ERROR)])
def test_failures_are_told(statistics, in_a_row, level):
    status = worker_status('/n', statistics.snapshot(), PARAMETERS, errors=5, in_a_row=in_a_row,
                                       last_error='RuntimeError: out of memory')
    assert status.level == level
    assert 'out of memory' in status.message


class RosLogger:
    """Takes what rclpy's logger takes."""

    def __init__(self):
        self.said = []

    def get_effective_level(self):
        return 20

    def __getattr__(self, severity):
        return lambda message: self.said.append((severity, message))


def test_what_is_logged_is_one_line_a_message():
    ros_logger = RosLogger()
    bridge = LogBridge(ros_logger)
    try:
        logging.getLogger('segvlad_ros.io.bags').warning('%s is odd', 'a\nb\x1b[2J')
    finally:
        bridge.close()
    assert ros_logger.said == [('warning', 'a b\\x1b[2J is odd')]


def test_the_core_speaks_through_the_node():
    ros, core = RosLogger(), logging.getLogger('segvlad_ros.mapping.something')
    bridge = LogBridge(ros)
    core.debug('hidden')
    core.info('one %d', 1)
    core.warning('two')
    core.error('three')
    core.critical('four')
    bridge.close()
    core.error('after')
    assert ros.said == [('info', 'one 1'), ('warning', 'two'), ('error', 'three'), ('fatal', 'four')]


@pytest.mark.parametrize('name', preset_names())
def test_diagnostics_say_whether_a_preset_is_calibrated(name):
    status = decision_status('/localizer', load_preset(name))
    assert (status.name, status.level) == ('/localizer: decision', DiagnosticStatus.OK)
    decides = 'calibrated probability' if name in ('classic', 'learned') else 'uncalibrated, thresholds decide'
    assert status.message == decides
    assert [(value.key, value.value) for value in status.values] == [('preset', name)]


def test_a_calibration_that_does_not_decide_is_said():
    preset = load_preset('classic', {'decision.min_probability': 0})
    assert decision_status('/localizer', preset).message == 'calibrated, but thresholds decide'
