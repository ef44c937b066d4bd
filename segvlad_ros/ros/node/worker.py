"""The one thread that does a node's work: a slot for the newest image, and a short queue of jobs."""
from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """What to do, who waits for it, and its name where only the newest of a kind counts."""

    work: Callable[[], Any]
    future: Future | None = None
    newest: str = ''


class Worker:
    """A thread that handles the newest item of a one-slot box, and jobs that other threads submit.

    Jobs are handled in order and before the box, since somebody waits for them or they must not be lost. Long work goes
    in steps, which take turns with the items of the box. No exception ends the thread: it is reported, counted, and the
    next item is taken.

    :param process: handles one item of the box, in the worker's thread. It, or a job nobody waits for, returns False
        where there was nothing to do: that ends no row of failures
    :param on_error: receives what ``process``, ``on_idle`` or a job nobody waits for raised
    :param on_drop: receives an item that was replaced before it was handled
    :param on_idle: called after an item or a job when nothing else waits
    :param max_jobs: longest queue of jobs; a submission beyond it is refused
    :ivar errors, consecutive_errors: how often something raised, in all and since the last success
    """

    def __init__(
        self,
        process: Callable[[Any], Any],
        *,
        on_error: Callable[[Exception], None],
        on_drop: Callable[[Any], None] = lambda item: None,
        on_idle: Callable[[], None] = lambda: None,
        max_jobs: int = 100,
    ) -> None:
        self._process = process
        self._on_error = on_error
        self._on_drop = on_drop
        self._on_idle = on_idle
        self._max_jobs = max_jobs
        self._changed = threading.Condition()
        self._box: list[Any] = []
        self._jobs: deque[_Job] = deque()
        self._steps: deque[_Job] = deque()
        self._took_item = False
        self._busy = self._stopping = False
        self.errors = self.consecutive_errors = 0
        self._thread = threading.Thread(target=self._run, name='worker', daemon=True)
        self._thread.start()

    def put(self, item: Any) -> None:
        """Leave an item to be handled; one that still waits in the box is dropped."""
        with self._changed:
            if self._stopping:
                return
            replaced, self._box = self._box, [item]
            self._changed.notify_all()
        for old in replaced:
            self._on_drop(old)

    def _empty_box(self) -> None:
        with self._changed:
            dropped, self._box = self._box, []
        for item in dropped:
            self._on_drop(item)

    def submit(self, job: Callable[[], Any]) -> Future:
        """Queue a job for the worker's thread.

        :return: the future with its result or exception; a job that was not begun when the worker stops is cancelled
        :raises SegvladError: the queue is full, or the worker has stopped
        """
        future: Future = Future()
        self._queue(_Job(job, future))
        return future

    def post(self, job: Callable[[], Any], newest: str = '') -> None:
        """Queue a job whose result nobody waits for; what it raises goes to ``on_error``.

        :param newest: a job of this name that still waits gives its place to this one; '' replaces none
        :raises SegvladError: the queue is full, or the worker has stopped
        """
        self._queue(_Job(job, newest=newest))

    def go_on(self, job: Callable[[], Any]) -> None:
        """Queue the next step of long work, from within a job or step: an item of the box that waits comes first."""
        with self._changed:
            self._steps.append(_Job(job))

    def _queue(self, job: _Job) -> None:
        with self._changed:
            if self._stopping:
                raise SegvladError('the node is being stopped')
            for number, other in enumerate(self._jobs):
                if job.newest and other.newest == job.newest:
                    self._jobs[number] = job
                    return
            if len(self._jobs) >= self._max_jobs:
                raise SegvladError(f'{self._max_jobs} requests wait already: try again later')
            self._jobs.append(job)
            self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Drop what waits in the box and wait until all jobs and the item in hand are done.

        :return: False if that took longer than ``timeout_s``
        """
        self._empty_box()
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and not self._jobs and not self._steps, timeout_s)

    def stop(self) -> None:
        """End the thread after the item in hand; what waits is dropped or cancelled. May be called twice."""
        with self._changed:
            self._stopping = True
            cancelled, self._jobs = self._jobs, deque()
            self._steps.clear()
            self._changed.notify_all()
        self._empty_box()
        for job in cancelled:
            if job.future is not None:
                job.future.cancel()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._jobs or self._box or self._steps)
                if self._stopping:
                    return
                self._busy = True
                job = self._next()
            if job.future is None:
                self._guarded(job.work)
            else:
                self._do_job(job.work, job.future)
            with self._changed:
                idle = not self._jobs and not self._box and (self._took_item or not self._steps)
            if idle:
                self._guarded(self._on_idle, counts_as_success=False)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> _Job:
        """A job, else an item of the box or a step by turns."""
        self._took_item = not self._jobs and bool(self._box) and not (self._steps and self._took_item)
        if self._took_item:
            return _Job(functools.partial(self._process, self._box.pop()))
        return self._jobs.popleft() if self._jobs else self._steps.popleft()

    def _do_job(self, job: Callable[[], Any], future: Future) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(job())
        except Exception as error:  # its waiter decides what it means
            future.set_exception(error)

    def _guarded(self, call: Callable[[], Any], counts_as_success: bool = True) -> None:
        try:
            if call() is not False and counts_as_success:
                self.consecutive_errors = 0
        except Exception as error:
            self.errors += 1
            self.consecutive_errors += 1
            try:
                self._on_error(error)
            except Exception:  # a reporter that fails must not end the thread either
                logger.exception('could not report a worker error')
