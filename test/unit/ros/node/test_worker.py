"""The worker: newest wins, drops are counted, nothing ends the thread but stop."""
import threading

import numpy as np
import pytest

from segvlad_ros.ros.node.worker import Worker
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

WAIT_S = 10


class Recorder:
    """Processes items; an item 'hold' waits until it is released."""

    def __init__(self):
        self.handled, self.errors, self.dropped = [], [], []
        self.taken, self.release, self.idle = threading.Event(), threading.Event(), threading.Event()

    def process(self, item):
        if item == 'hold':
            self.taken.set()
            assert self.release.wait(WAIT_S)
        if isinstance(item, Exception):
            raise item
        self.handled.append((item, threading.current_thread()))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def worker(recorder):
    worker = Worker(recorder.process, on_error=recorder.errors.append, on_drop=recorder.dropped.append,
                    on_idle=recorder.idle.set, max_jobs=2)
    yield worker
    recorder.release.set()
    worker.stop()


def items(recorder):
    return [item for item, _ in recorder.handled]


def test_newest_wins_and_the_replaced_are_counted(worker, recorder):
    worker.put('hold')
    assert recorder.taken.wait(WAIT_S)
    for number in range(5):
        worker.put(number)
    recorder.release.set()
    worker.submit(lambda: None).result(WAIT_S)
    recorder.idle.clear()
    assert worker.flush(WAIT_S)
    assert recorder.dropped[:4] == [0, 1, 2, 3]
    assert set(items(recorder)) | set(recorder.dropped) == {'hold', 0, 1, 2, 3, 4}


def test_work_is_done_in_one_other_thread(worker, recorder):
    where = worker.submit(threading.current_thread).result(WAIT_S)
    worker.put('a')
    assert recorder.idle.wait(WAIT_S)
    assert where is not threading.current_thread()
    assert all(thread is where for _, thread in recorder.handled)


@pytest.mark.fault('node', 'an error that nobody has thought of',
                   'reported, counted, survived; three in a row are an ERROR')
def test_exceptions_are_reported_counted_and_survived(worker, recorder):
    failure = RuntimeError('broken image')
    for _ in range(2):
        recorder.idle.clear()
        worker.put(failure)
        assert recorder.idle.wait(WAIT_S)
    assert recorder.errors == [failure, failure]
    assert (worker.errors, worker.consecutive_errors) == (2, 2)
    recorder.idle.clear()
    worker.put('good')
    assert recorder.idle.wait(WAIT_S)
    assert items(recorder) == ['good']
    assert (worker.errors, worker.consecutive_errors) == (2, 0)


def test_what_had_nothing_to_do_ends_no_row_of_failures(recorder):
    """Frames that the gate passed by hid a full disk."""
    def handle(item):
        if item is None:
            return False
        raise item
    worker = Worker(handle, on_error=recorder.errors.append, on_idle=recorder.idle.set)
    for item in (RuntimeError('disk full'), None, RuntimeError('disk full'), None):
        recorder.idle.clear()
        worker.put(item)
        assert recorder.idle.wait(WAIT_S)
    worker.post(lambda: False)
    assert worker.flush(WAIT_S)
    assert worker.consecutive_errors == 2
    worker.stop()


@pytest.mark.fault('node', 'an error while an error is reported', 'survived, too')
def test_a_reporter_that_fails_ends_nothing(recorder):
    def fail(_):
        raise ValueError('cannot report')
    worker = Worker(recorder.process, on_error=fail, on_idle=recorder.idle.set)
    worker.put(RuntimeError('first'))
    assert recorder.idle.wait(WAIT_S)
    recorder.idle.clear()
    worker.put('second')
    assert recorder.idle.wait(WAIT_S)
    worker.stop()
    assert items(recorder) == ['second']


def test_the_exception_of_a_job_goes_to_its_waiter(worker, recorder):
    def fail():
        raise SegvladError('no such map')
    with pytest.raises(SegvladError, match='no such map'):
        worker.submit(fail).result(WAIT_S)
    assert (recorder.errors, worker.errors) == ([], 0)


def test_the_exception_of_a_posted_job_is_reported(worker, recorder):
    def fail():
        raise SegvladError('bad keyframe')
    worker.post(fail)
    assert recorder.idle.wait(WAIT_S)
    assert [str(error) for error in recorder.errors] == ['bad keyframe']


@pytest.mark.fault('service', 'more requests than can be handled', 'refused with "try again later"; images go on')
def test_jobs_go_before_the_box_in_their_order_and_are_bounded(worker, recorder):
    worker.put('hold')
    assert recorder.taken.wait(WAIT_S)
    worker.put('image')
    order = []
    futures = [worker.submit(lambda number=number: order.append((number, items(recorder)))) for number in (1, 2)]
    with pytest.raises(SegvladError, match='wait already'):
        worker.submit(lambda: None)
    recorder.release.set()
    for future in futures:
        future.result(WAIT_S)
    assert order == [(1, ['hold']), (2, ['hold'])]


def test_the_newest_job_of_a_name_takes_the_place_of_the_one_that_waits(worker, recorder):
    """A path of thousands of poses comes every second; only the last one is worth the time."""
    worker.put('hold')
    assert recorder.taken.wait(WAIT_S)
    done = []
    worker.post(lambda: done.append('path 1'), 'path')
    last = worker.submit(lambda: done.append('answer'))
    for number in (2, 3):
        worker.post(lambda number=number: done.append(f'path {number}'), 'path')
    with pytest.raises(SegvladError, match='wait already'):
        worker.post(lambda: done.append('another'), 'markers')
    recorder.release.set()
    last.result(WAIT_S)
    assert done == ['path 3', 'answer']
    worker.post(lambda: done.append('path 4'), 'path')
    worker.submit(lambda: None).result(WAIT_S)
    assert done[2:] == ['path 4']


def test_stop_cancels_what_waits_and_joins(recorder):
    worker = Worker(recorder.process, on_error=recorder.errors.append, on_drop=recorder.dropped.append)
    worker.put('hold')
    assert recorder.taken.wait(WAIT_S)
    worker.put('late')
    waiting = worker.submit(lambda: 'never')
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    recorder.release.set()
    stopper.join(WAIT_S)
    assert not stopper.is_alive()
    assert waiting.cancelled()
    assert recorder.dropped == ['late']
    with pytest.raises(SegvladError, match='stopped'):
        worker.submit(lambda: None)
    worker.put('ignored')
    worker.stop()
    assert items(recorder) == ['hold']


def test_flush_waits_for_the_item_in_hand(worker, recorder):
    worker.put('hold')
    assert recorder.taken.wait(WAIT_S)
    assert not worker.flush(0.0)
    recorder.release.set()
    assert worker.flush(WAIT_S)
    assert items(recorder) == ['hold']


def test_steps_of_long_work_take_turns_with_images(worker, recorder):
    """A closure that moves a whole map must not cost an image."""
    left = list(range(5))

    def step():
        recorder.handled.append((f'step {left.pop(0)}', None))
        worker.put(f'image before {left[0]}' if left else 'last image')
        if left:
            worker.go_on(step)

    worker.post(step)
    assert worker.flush(WAIT_S)
    worker.submit(lambda: None).result(WAIT_S)
    assert items(recorder)[:9] == ['step 0', 'image before 1', 'step 1', 'image before 2', 'step 2', 'image before 3',
                                   'step 3', 'image before 4', 'step 4']
    assert recorder.idle.wait(WAIT_S)


def test_steps_that_wait_are_given_up_at_the_end(recorder):
    worker = Worker(recorder.process, on_error=recorder.errors.append)

    def step():
        recorder.handled.append(('step', None))
        worker.go_on(step)
        recorder.taken.set()

    worker.post(step)
    assert recorder.taken.wait(WAIT_S)
    worker.stop()
    assert items(recorder)


@pytest.mark.fault('memory', 'memory runs out in a node', 'reported in one line; the next image is taken')
def test_memory_that_runs_out_ends_nothing(recorder):
    worker = Worker(lambda size: np.empty(size, np.uint8), on_error=recorder.errors.append,
                    on_drop=recorder.dropped.append, on_idle=recorder.idle.set)
    try:
        worker.put(1 << 60)
        assert recorder.idle.wait(WAIT_S)
        assert 'memory has run out' in said_by(recorder.errors[0])
        recorder.idle.clear()
        worker.put(1)
        assert recorder.idle.wait(WAIT_S)
        assert (worker.errors, worker.consecutive_errors) == (1, 0)
    finally:
        worker.stop()
