"""How long networks waited for images, and images for networks."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple


class WaitingTimes(NamedTuple):
    """Seconds of one worker, or of several together.

    :ivar total: from its first image to its last
    :ivar networks: in which no network worked: all of them waited for images
    :ivar images: in which an image that was ready waited for its turn
    """

    total: float = 0.0
    networks: float = 0.0
    images: float = 0.0

    def plus(self, other: WaitingTimes) -> WaitingTimes:
        """Of both."""
        return WaitingTimes(*(mine + more for mine, more in zip(self, other)))

    def __str__(self) -> str:
        total = max(self.total, 1e-9)
        return (f'the networks waited for images {100 * self.networks / total:.1f} % of the time, images for a network '
                f'{100 * self.images / total:.1f} %')


class Occupancy(AbstractContextManager):
    """Counts it, called from many threads: as a context around the work on an image, with :meth:`turn` inside.

    :param clock: seconds
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._guard = clock, threading.Lock()
        self._at_work = self._in_line = 0
        self._since: float | None = None
        self._times = WaitingTimes()

    def __enter__(self) -> Occupancy:
        self._step()
        return self

    def __exit__(self, *_: object) -> None:
        self._step()

    @contextmanager
    def turn(self, lock: AbstractContextManager) -> Iterator[None]:
        """Wait for a network, then hold it; ``lock`` is the network's."""
        self._step(in_line=1)
        with lock:
            self._step(in_line=-1, at_work=1)
            try:
                yield
            finally:
                self._step(at_work=-1)

    def times(self) -> WaitingTimes:
        """Up to when the last image was begun or ended."""
        with self._guard:
            return self._times

    def _step(self, in_line: int = 0, at_work: int = 0) -> None:
        with self._guard:
            now = self._clock()
            passed = 0.0 if self._since is None else now - self._since
            self._times = self._times.plus(WaitingTimes(passed, 0.0 if self._at_work else passed,
                                                        passed if self._in_line else 0.0))
            self._since = now
            self._in_line += in_line
            self._at_work += at_work
