"""A thread that brings keyframes to the place database, so that nobody else waits for a network."""
from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from segvlad_ros.fleet.milvus import MilvusPlaces
from segvlad_ros.fleet.outbox import Outbox
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

PERIOD_S = 5.0
"""What was stored is sent after this time; and again after as long, doubled up to the next one, where that failed."""
LONGEST_PERIOD_S = 60.0
END_S = 2.0  # how long join() waits for a request that is on its way


@dataclass(frozen=True)
class CourierFacts:
    """How the sending goes.

    :ivar sent, waiting: keyframes
    :ivar problem: why nothing can be sent now, '' if it can
    :ivar failing_s: since when, seconds
    """

    sent: int = 0
    waiting: int = 0
    problem: str = ''
    failing_s: float = 0.0


class Courier:
    """Sends what a map stores, from a thread of its own.

    :param connect: opens the database
    :param destination: see :class:`Outbox`
    """

    def __init__(self, place_map: PlaceMap, connect: Callable[[], MilvusPlaces], destination: str) -> None:
        self._connect = connect
        self._outbox = Outbox(place_map, destination)
        self._stopping = threading.Event()
        self._problem, self._failing_since_s = '', 0.0
        self._thread = threading.Thread(target=self._run, name='courier', daemon=True)
        self._thread.start()

    def facts(self) -> CourierFacts:
        """How the sending goes; asks nobody."""
        sent, waiting = self._outbox.sent, self._outbox.waiting  # before the problem, which what was sent ends
        problem = self._problem
        failing_s = time.monotonic() - self._failing_since_s if problem else 0.0
        return CourierFacts(sent, waiting, problem, failing_s)

    def stop(self) -> None:
        """Send no more; waits for nothing. May be called twice."""
        self._stopping.set()

    def join(self) -> None:
        """Wait for a request that is on its way; one that takes longer than a moment is left to itself."""
        self._thread.join(END_S)

    def _run(self) -> None:
        database, period_s = None, 0.0
        while not self._stopping.wait(period_s):
            try:
                if database is None:
                    database = self._connect()
                for _ in self._outbox.sync(database):
                    self._problem = ''  # now, and not when all of a long row has been sent
                    if self._stopping.is_set():
                        break
                self._problem, period_s = '', PERIOD_S
            except Exception as error:  # this thread must not end, nor say that all is well
                self._note(error)
                period_s = min(LONGEST_PERIOD_S, max(PERIOD_S, 2 * period_s))
                database = _closed(database)
        _closed(database)

    def _note(self, error: Exception) -> None:
        """Remember what is wrong; the log has the first of a row of failures."""
        known, first = isinstance(error, SegvladError), not self._problem
        self._problem = str(error) if known else f'{type(error).__name__}: {error}'
        if first:
            self._failing_since_s = time.monotonic()
        if first and not self._stopping.is_set():
            logger.warning('%s; keyframes wait in the map and are sent later', self._problem,
                           exc_info=None if known else error)


def _closed(database: MilvusPlaces | None) -> None:
    if database is not None:
        database.close()
