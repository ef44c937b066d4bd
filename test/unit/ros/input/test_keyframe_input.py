"""Missing keyframes are asked for until they come, once each.

A lost answer cannot be made with a healthy service, so the client is a stand-in here; test/nodes refills over DDS.
"""
import threading
from types import SimpleNamespace

import pytest
from map_samples import make_keyframe

from segvlad_ros.ros.input.keyframe_input import ASK_AGAIN_S, PATIENCE, POLL_S, KeyframeInput
from segvlad_ros.ros.node.base_node import SegvladNode
from segvlad_ros.ros.node.worker import Worker
from segvlad_ros.ros.output.keyframe_messages import to_place_descriptor, to_removed_keyframes
from segvlad_ros.ros.output.node_statistics import Statistics
from segvlad_ros.types import SegvladError

FINGERPRINT = 'f' * 64


class Client:
    """Keeps what it is asked; the test answers, or does not."""

    def __init__(self):
        self.asked = []

    def service_is_ready(self):
        return True

    def call_async(self, request):
        self.asked.append(request.keyframe.index)
        return SimpleNamespace(add_done_callback=lambda done: setattr(self, 'done', done))


class Timer:
    """A timer that the test calls."""

    running = False

    def cancel(self):
        self.running = False

    def reset(self):
        self.running = True

    def is_canceled(self):
        return not self.running


class StandIn:
    """What the input wants of its node; its worker works at once."""

    paused, sensor_group, steady_clock = False, None, None
    post = SegvladNode.post

    def __init__(self):
        self.now_s, self.problems, self.client, self.timer = 0.0, [], Client(), Timer()
        self.statistics = Statistics(self.steady_s)
        self.worker = SimpleNamespace(post=lambda job, newest='': job())

    def steady_s(self):
        return self.now_s

    def resolve_topic_name(self, topic):
        return f'/{topic}'

    def report(self, problem):
        self.problems.append(problem)

    def create_client(self, *args, **options):
        return self.client

    def create_timer(self, period_s, callback, **options):
        self.poll = callback
        return self.timer

    def poll_again(self, times):
        for _ in range(times):
            self.now_s += POLL_S
            self.poll()

    def create_subscription(self, kind, topic, callback, *args, **options):
        setattr(self, {'keyframes': 'receive', 'removed_keyframes': 'receive_removed'}[topic], callback)
        return topic


@pytest.fixture
def node():
    return StandIn()


@pytest.fixture
def added(node):
    added = []

    def remove(ids):
        for identity in ids:
            added.remove(identity.index)
    node.keyframes = KeyframeInput(node, FINGERPRINT, lambda keyframe, ahead: {},
                                   lambda keyframe: added.append(keyframe.id.index), remove)
    node.keyframes.open()
    return added


def message(index, passed_over=False):
    return to_place_descriptor(make_keyframe(index), FINGERPRINT, passed_over)


def answer(index):
    return SimpleNamespace(result=lambda: SimpleNamespace(
        success=True, message='', descriptor=message(index), gone=False))


def refusal(gone=False):
    return SimpleNamespace(result=lambda: SimpleNamespace(
        success=False, message='not in the map', descriptor=None, gone=gone))


@pytest.mark.fault('topic', 'the answer of a service is lost', 'asked again; two answers count once')
def test_a_lost_answer_is_asked_for_again_and_two_answers_count_once(node, added):
    node.receive(message(2))
    for node.now_s in (0.1, 0.2, ASK_AGAIN_S):
        node.poll()
    assert node.client.asked == [1]
    first = node.client.done
    node.now_s = ASK_AGAIN_S + 0.2
    node.poll()
    assert node.client.asked == [1, 1]
    node.client.done(answer(1))
    first(answer(1))
    assert added == [1, 2]
    assert node.problems == []
    assert node.statistics.snapshot().counts.gaps == 0


@pytest.mark.parametrize('follow', [True, False])
def test_what_is_answered_ahead_of_the_keyframes_that_join_is_said(node, follow):
    """Odometry that the answer had taken up was lost for all keyframes that were fetched after it."""
    answered = []
    node.keyframes = KeyframeInput(node, FINGERPRINT, lambda keyframe, ahead: answered.append(ahead) or {},
                                   (lambda keyframe: None) if follow else None, lambda ids: None)
    node.keyframes.open()
    for index in (1, 3):
        node.receive(message(index))
    if follow:
        node.poll_again(1)
        node.client.done(answer(2))
    node.receive(message(4))
    assert answered == [False, follow, False]


def test_an_answer_is_ahead_no_longer_once_the_missing_are_given_up(node, added):
    node.receive(message(4))
    node.poll_again(PATIENCE + 3)
    assert added == [4]
    assert not node.keyframes.follower.ahead(make_keyframe(5).id)


def test_a_row_of_failures_goes_on_while_keyframes_are_missing(node, added):
    """Neither asking for them nor what another model has described shows that the worker is well again."""
    def fail(keyframe, ahead):
        raise SegvladError('the GPU is gone')
    node.keyframes._answer = fail
    node.worker = Worker(lambda item: None, on_error=lambda error: None)
    for index in (2, 3):
        node.receive(message(index))
        node.keyframes.follower.offer(make_keyframe(index))
        node.poll_again(2)
        node.receive(to_place_descriptor(make_keyframe(9), 'e' * 64, False))
        assert node.worker.flush(60.0)
    assert (node.client.asked, node.worker.errors, node.worker.consecutive_errors) == ([1], 2, 2)
    node.worker.stop()


@pytest.mark.fault('topic', 'the node that has a keyframe is gone', 'after five seconds it is given up, and said')
def test_without_any_answer_it_is_given_up_in_words(node, added):
    node.receive(message(2))
    node.poll_again(PATIENCE)
    assert (added, node.problems) == ([], [])
    node.poll_again(1)
    assert added == [2]
    assert node.problems == ['keyframe 1 never came: the service get_keyframe does not answer']


def test_what_the_map_passes_over_or_has_lost_is_no_gap(node, added):
    """Neither asked for nor awaited; what the service calls gone is not missed either."""
    node.receive(message(1))
    node.receive(message(2, passed_over=True))
    node.receive(message(3))
    assert (added, node.client.asked) == ([1, 3], [])
    node.receive(message(5))
    node.now_s = 0.1
    node.poll()
    assert node.client.asked == [4]
    node.client.done(refusal(gone=True))
    assert added == [1, 3, 5]
    assert node.statistics.snapshot().counts.gaps == 0
    node.receive_removed(to_removed_keyframes([make_keyframe(3).id], 'map', 0))
    assert added == [1, 5]
    assert node.problems == []


@pytest.mark.parametrize('change', [lambda keyframes: keyframes.forget(),
                                    lambda keyframes: keyframes.known([make_keyframe(1).id])])
def test_an_answer_that_comes_when_another_map_is_there_says_nothing(node, added, change):
    """A keyframe that nobody waits for any more counted as lost, or was an error of the worker."""
    node.receive(message(2))
    node.poll()
    change(node.keyframes)
    node.client.done(refusal())
    assert node.problems == []
    assert node.statistics.snapshot().counts.gaps == 0
    node.receive(message(4))
    node.poll()
    assert node.client.asked[-1] == node.keyframes.follower.missing()[2]


class Busy:
    """Gives a node a real worker, and the worker something that takes until the test ends it."""

    def __init__(self, node):
        self.worker = node.worker = Worker(lambda item: None, on_error=lambda error: node.report(repr(error)))

    def begin(self):
        begun, self._end = threading.Event(), threading.Event()
        self.worker.post(lambda: begun.set() or self._end.wait())
        begun.wait()

    def end(self):
        self._end.set()
        self.worker.flush()


@pytest.fixture
def busy(node):
    busy = Busy(node)
    yield busy
    busy.end()
    busy.worker.stop()


def test_a_busy_worker_gives_up_nothing_and_refuses_nothing(node, added, busy):
    """Each poll took a place in the queue, which was full after ten seconds; an answer that waited came too late."""
    node.receive(message(2))
    busy.worker.flush()
    node.poll_again(1)
    busy.worker.flush()
    assert node.client.asked == [1]
    busy.begin()
    node.poll_again(100)
    node.client.done(answer(1))
    node.receive(message(3))
    node.poll_again(100)
    busy.end()
    assert added == [1, 2, 3]
    assert node.problems == []


def test_an_answer_for_which_there_is_no_room_is_asked_for_again(node, added, busy):
    """It was a traceback in the executor."""
    node.receive(message(2))
    busy.worker.flush()
    node.poll_again(1)
    busy.worker.flush()
    busy.begin()
    for _ in range(100):
        busy.worker.post(lambda: None)
    node.client.done(answer(1))
    assert node.problems == ['keyframe 1 not used: 100 requests wait already: try again later']
    busy.end()
    node.now_s += ASK_AGAIN_S
    node.poll_again(1)
    busy.worker.flush()
    assert node.client.asked == [1, 1]
    node.client.done(answer(1))
    busy.worker.flush()
    assert added == [1, 2]


def test_a_pause_gives_up_nothing(node, added):
    node.receive(message(2))
    node.poll_again(1)
    node.paused = True
    node.client.done(answer(1))
    node.poll_again(2 * PATIENCE)
    node.paused = False
    node.poll_again(1)
    assert (added, node.client.asked, node.problems) == ([], [1, 1], [])
    node.client.done(answer(1))
    assert added == [1, 2]


def test_what_comes_while_the_node_is_cleaned_up_is_dropped(node, added):
    node.receive(message(2))
    node.worker = None
    node.receive(message(3))
    node.receive_removed(to_removed_keyframes([make_keyframe(1).id], 'map', 0))
    node.poll_again(1)
    assert (added, node.problems) == ([], [])
