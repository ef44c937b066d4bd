"""Matrices so small are multiplied on one thread: a second one only spins (OpenCV 5 brought OpenBLAS to an answer).

Locks go to those who wait, and work is begun little ahead of its turn.
"""
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from segvlad_ros.pipeline.builders import build_describer, build_recognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.recognition import poll as poll_module
from segvlad_ros.threads import FairLock, RememberedInterrupt, _libraries, map_ahead
from segvlad_ros.types import Keyframe, KeyframeId


def blas_threads():
    return {pool['num_threads'] for pool in _libraries.__wrapped__(0).info() if pool['user_api'] == 'blas'}


def test_libraries_are_found_without_calling_python_under_the_linkers_lock(monkeypatch):
    """It hung: one thread looked for libraries, and another one imported."""
    known = {pool['filepath'] for pool in threadpool_info()}
    monkeypatch.setattr(ThreadpoolController, '_find_libraries_with_dl_iterate_phdr', lambda self: pytest.fail())
    assert known and {pool['filepath'] for pool in _libraries.__wrapped__(0).info()} == known


def test_a_description_and_an_answer_use_one_blas_thread(monkeypatch):
    preset, seen = load_preset('classic'), {}
    describer = build_describer(preset)
    describer.find_keypoints = lambda rgb, depth: seen.update(described=blas_threads())
    recognizer = build_recognizer(preset)
    vote = poll_module.vote_online
    monkeypatch.setattr(poll_module, 'vote_online',
                        lambda *values: (seen.update(answered=blas_threads()), vote(*values))[1])
    rgb = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    with threadpool_limits(2, user_api='blas'):
        description = describer.describe(rgb)
        recognizer.add(Keyframe(KeyframeId(0, 'map', 1, 10 ** 9), description))
        recognizer.recognize(Keyframe(KeyframeId(0, 'query', 1, 2 * 10 ** 9), description), exclude_recent=False)
    assert seen == {'described': {1}, 'answered': {1}}


def started(*functions):
    threads = [threading.Thread(target=function, daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def joined(threads):
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)


def test_a_fair_lock_goes_to_who_waits():
    """Not to the thread that leaves it and asks again at once."""
    lock, order, asked = FairLock(), [], threading.Event()

    def patient():
        asked.set()
        with lock:
            order.append('patient')

    with lock:
        threads = started(patient)
        assert asked.wait(10)
        deadline = time.monotonic() + 10
        while not lock._waiting and time.monotonic() < deadline:
            time.sleep(0.001)
    with lock:
        order.append('hasty')
    joined(threads)
    assert order == ['patient', 'hasty']


def test_a_fair_lock_lets_its_owner_in_again_and_nobody_else():
    lock, inside, most = FairLock(), [0], [0]

    def work():
        for _ in range(300):
            with lock, lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                with lock:
                    inside[0] -= 1

    joined(started(work, work, work))
    assert most == [1]
    assert inside == [0]


def test_a_fair_lock_is_free_after_an_error():
    lock = FairLock()
    with pytest.raises(ValueError, match='inside'), lock:
        raise ValueError('inside')
    joined(started(lambda: lock.__enter__().__exit__(None, None, None)))


INTERRUPTED = """import os, signal, threading, time
from segvlad_ros.threads import FairLock

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs this in the background ignores the signal
lock, held, leave = FairLock(), threading.Event(), threading.Event()

def holder():
    with lock:
        held.set()
        leave.wait(20)

def interrupt():
    while not lock._waiting:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=holder).start()
held.wait(20)
threading.Thread(target=interrupt).start()
try:
    with lock:
        print('entered')
except KeyboardInterrupt:
    print('interrupted', len(lock._waiting))
leave.set()
with lock:
    print('free')
"""


def test_whom_a_signal_ends_waits_for_a_fair_lock_no_longer():
    """Ctrl-C while the main thread waits: the lock goes on to the next, and the process ends."""
    done = subprocess.run([sys.executable, '-c', INTERRUPTED], cwd=Path(__file__).parents[2], capture_output=True,
                          text=True, timeout=60, check=True)
    assert done.stdout.split('\n')[:2] == ['interrupted 0', 'free'], done.stderr


def test_map_ahead_keeps_the_order_and_takes_few_values_before_their_turn():
    taken = []

    def values():
        for number in range(10):
            taken.append(number)
            yield number
    with ThreadPoolExecutor(3) as pool:
        results = map_ahead(pool, lambda number: number * number, values(), 4)
        assert next(results) == 0 and taken == [0, 1, 2, 3]
        assert list(results) == [number * number for number in range(1, 10)]


def test_map_ahead_that_is_left_begins_nothing_more():
    begun, go_on = [], threading.Event()

    def wait(number):
        begun.append(number)
        assert number == 0 or go_on.wait(10)
    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(pool, wait, range(10), 4)
        next(results)
        results.close()
        go_on.set()
    assert begun in ([0], [0, 1])


def test_ctrl_c_that_a_library_swallows_is_remembered():
    before = signal.getsignal(signal.SIGINT)
    with RememberedInterrupt() as interrupt:
        interrupt.check()
        with suppress(KeyboardInterrupt):  # as the library does
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    assert signal.getsignal(signal.SIGINT) is before
