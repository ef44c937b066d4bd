"""How threads share what they must not use at once, and the cores."""
from __future__ import annotations

import logging
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

logger = logging.getLogger(__name__)
Given, Result = TypeVar('Given'), TypeVar('Result')


def map_ahead(pool: Executor, function: Callable[[Given], Result], values: Iterable[Given],
              count: int) -> Iterator[Result]:
    """Results in order, as ``pool.map`` gives them, but at most ``count`` values are taken before their turn."""
    ahead: deque[Future[Result]] = deque()
    try:
        for value in values:
            ahead.append(pool.submit(function, value))
            if len(ahead) >= count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


def one_blas_thread() -> AbstractContextManager:
    """Keep the BLAS of every library on one thread, as a context.

    A second thread gains little with matrices so small, and waits by spinning: where other nodes keep the cores busy
    the two wait for each other (a description took 15 to 40 times longer, measured), and where nothing else runs an
    answer burns a second core (OpenCV 5 brings OpenBLAS: 25 s of CPU time in 12 s, with one thread 12 in 11).

    Without threadpoolctl, for which rosdep has no key, the BLAS keeps its threads, and a line says so once.
    """
    libraries = _libraries(len(sys.modules))
    return nullcontext() if libraries is None else libraries.limit(limits=1, user_api='blas')


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController | None:
    """Those of this process; looked for again where more modules are imported, since faiss and SciPy come late.

    :param modules: how many are imported
    """
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        _miss_threadpoolctl()
        return None

    class Controller(ThreadpoolController):
        """One that reads what is mapped: ``dl_iterate_phdr`` calls Python with the linker's lock held.

        Where another thread imports at that moment, it waits for that lock and we for the interpreter's, for ever.
        """

        def _find_libraries_with_dl_iterate_phdr(self) -> None:
            for path in mapped_libraries():
                self._make_controller_from_path(path)
    return Controller()


def mapped_libraries() -> list[str]:
    """Paths of the shared libraries of this process."""
    fields = (line.split(maxsplit=5) for line in Path('/proc/self/maps').read_text(errors='replace').splitlines())
    return list(dict.fromkeys(words[5] for words in fields if len(words) == 6 and '.so' in words[5]))


@cache
def _miss_threadpoolctl() -> None:
    logger.warning('threadpoolctl cannot be imported: matrices are multiplied on all cores, which costs time where '
                   'others use them; pip install threadpoolctl, or sudo apt install python3-threadpoolctl')


class FairLock(AbstractContextManager):
    """A reentrant lock that goes to the thread that has waited longest.

    Who leaves a ``threading.RLock`` and enters it again at once mostly finds it free, and keeps the others waiting: a
    keyframe that was to be added waited for many answers that followed each other.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> FairLock:
        me = threading.get_ident()
        with self._guard:
            if self._owner in (None, me):
                self._owner, self._depth = me, self._depth + 1
                return self
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append((me, turn))
        try:
            turn.acquire()  # until whoever leaves hands over
        except BaseException:  # a signal's, in the main thread
            with self._guard:
                waiting = (me, turn) in self._waiting
                if waiting:
                    self._waiting.remove((me, turn))
            if not waiting:
                self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._depth -= 1
            if self._depth:
                return
            self._owner = None
            if self._waiting:
                self._owner, turn = self._waiting.popleft()
                self._depth = 1
                turn.release()


class RememberedInterrupt(AbstractContextManager):
    """Ctrl-C that is not lost where a library swallows ``KeyboardInterrupt``: under Ray one of nine ended nothing.

    Does nothing outside of the main thread, which alone is told of signals.
    """

    def __init__(self) -> None:
        self._came = False
        self._before: Any = None

    def __enter__(self) -> RememberedInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if one has come."""
        if self._came:
            raise KeyboardInterrupt

    def _remember(self, *_: object) -> None:
        self._came = True
        raise KeyboardInterrupt
