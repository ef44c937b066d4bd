"""Extraction on a Ray cluster: the workers of :mod:`segvlad_ros.evaluation.extraction` as actors.

Images and results travel as bytes, and this process alone reads and writes files: the cluster sees no data set, needs
no shared file system, and may be far away (``ray://``). The networks' weights are read by the workers, from the paths
of the preset.
"""
from __future__ import annotations

import logging
import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from segvlad_ros.evaluation.extraction import IN_HAND, ExtractionRecipe, ExtractionWorker, MissingParts
from segvlad_ros.evaluation.occupancy import WaitingTimes
from segvlad_ros.io.extras import import_extra
from segvlad_ros.text import one_line
from segvlad_ros.threads import RememberedInterrupt
from segvlad_ros.types import SegvladError

logger = logging.getLogger(__name__)

_DEATHS = 3  # workers that die in a row while they load, or over one image: the next would, too
_CONNECT_S, _PATIENCE_S = 10.0, 60.0
_QUIET = {'RAY_USAGE_STATS_ENABLED': '0',  # nothing is reported to anybody
          'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'}  # later versions of Ray do so; until then it warns


class ClusterWorker:
    """What runs on the cluster; an actor of :data:`IN_HAND` threads."""

    def load(self, recipe: ExtractionRecipe) -> None:
        """Load the networks. Apart from the constructor, whose errors Ray turns into text."""
        recipe.check()
        self._worker = ExtractionWorker(recipe)

    def made(self, name: str, content: bytes, digests: dict[str, str]) -> dict[str, bytes]:
        """See :class:`~segvlad_ros.evaluation.extraction.ExtractionWorker`."""
        return self._worker.made(name, content, digests)

    def waiting_times(self) -> WaitingTimes:
        """So far."""
        return self._worker.waiting_times()


class ClusterEngine:
    """Workers on a cluster; see :class:`~segvlad_ros.evaluation.extraction.ExtractionEngine`.

    A worker that dies is replaced, and the images that it had in hand go to the next one that is free.

    :param address: 'local' starts a cluster on this machine, 'auto' finds the one that runs here, 'host:port' and
        'ray://host:port' one elsewhere
    :param workers: at most so many; 0: one for each GPU of the cluster, or for each core where the device is 'cpu'
    :raises SegvladError: Ray is not installed, the cluster cannot be reached, or has no GPU
    """

    def __init__(self, recipe: ExtractionRecipe, address: str = 'local', workers: int = 0) -> None:
        os.environ.update(_QUIET)
        self._ray = import_extra('ray')
        self._exceptions = import_extra('ray.exceptions')
        with ExitStack() as opened:
            self._interrupt = opened.enter_context(RememberedInterrupt())
            # Ray prints remarks of its own there, in the middle of what a script may read
            opened.enter_context(redirect_stdout(opened.enter_context(open(os.devnull, 'w'))))
            _connect(self._ray, address)
            opened.callback(self._ray.shutdown)  # ends our workers, and a cluster that was started here
            self._gpu = recipe.device != 'cpu'
            kind = 'GPU' if self._gpu else 'CPU'
            units = int(self._ray.cluster_resources().get(kind, 0))
            if not units:
                raise SegvladError(f'the Ray cluster {address} has no {kind} for --device {recipe.device}')
            self._opened = opened.pop_all()
        # a worker sees only the GPU that Ray gives it
        self._recipe = replace(recipe, device=recipe.device.partition(':')[0])
        self._loading: dict[Any, Any] = {}  # what load() will return: the worker
        self._flights: dict[Any, tuple[Any, MissingParts]] = {}  # what made() will return: the worker, and of what
        self._load: Counter = Counter()  # images that each worker has in hand; a worker is here once it is loaded
        self._again: deque[MissingParts] = deque()
        self._deaths: Counter = Counter()  # by path, and by '' of those that died while they loaded
        self._done_again = 0
        for _ in range(workers or units):
            self._start_worker()

    def __enter__(self) -> ClusterEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def made(self, images: Iterator[MissingParts]) -> Iterator[tuple[MissingParts, dict[str, bytes]]]:
        """In the order in which they are done."""
        for image in images:
            if not image.digests:
                yield image, {}
                continue
            while (worker := self._free_worker()) is None:
                yield from self._next_event()
            self._hand_out(image, worker)
        while self._flights or self._again:
            yield from self._next_event()
        if self._done_again:
            logger.warning('%d images were done again, since a worker had died over them', self._done_again)

    def waiting_times(self) -> WaitingTimes:
        """Of the workers that live, so far."""
        times = WaitingTimes()
        for answer in [worker.waiting_times.remote() for worker in self._load]:
            try:
                times = times.plus(self._ray.get(answer))
            except self._exceptions.RayError:
                logger.info('a worker has died; its times are lost')
        return times

    def _start_worker(self) -> None:
        actor = self._ray.remote(max_concurrency=IN_HAND, num_cpus=1, num_gpus=int(self._gpu))(ClusterWorker).remote()
        self._loading[actor.load.remote(self._recipe)] = actor

    def _free_worker(self) -> Any:
        """The one with the fewest images in hand, if that is not too many."""
        worker = min(self._load, key=self._load.get, default=None)
        return worker if worker is not None and self._load[worker] < IN_HAND else None

    def _hand_out(self, image: MissingParts, worker: Any) -> None:
        self._flights[worker.made.remote(str(image.path), image.content, image.digests)] = worker, image
        self._load[worker] += 1

    def _next_event(self) -> Iterator[tuple[MissingParts, dict[str, bytes]]]:
        """Wait until a worker has loaded, or has made something, or has died."""
        self._interrupt.check()
        while self._again and (free := self._free_worker()) is not None:
            self._hand_out(self._again.popleft(), free)
        answers, _ = self._ray.wait([*self._flights, *self._loading], num_returns=1,
                                    timeout=None if self._load else _PATIENCE_S)
        for answer in answers:
            loading = self._loading.pop(answer, None)
            worker, image = (loading, None) if loading is not None else self._flights.pop(answer)
            try:
                result = self._ray.get(answer)
            except self._exceptions.RayTaskError as error:
                raise _known(error) from error
            except self._exceptions.RayError as error:
                self._lost(worker, image, error)
                continue
            if image is None:
                self._load[worker] = 0
                self._deaths.pop('', None)
                continue
            if worker in self._load:
                self._load[worker] -= 1
            yield image, result
        if not answers:
            logger.warning('no worker is ready after %.0f s: networks are loaded, or the cluster is taken', _PATIENCE_S)

    def _lost(self, worker: Any, image: MissingParts | None, error: Exception) -> None:
        """See that an image (None while it loaded) that a worker died over is done again, by another.

        Whatever else it had in hand is lost, too, or has been made: its answers tell.
        """
        if getattr(error, 'actor_init_failed', False):
            raise SegvladError(f'a worker cannot start ({one_line(error, 300)}): install segvlad_ros with the extras '
                               'of the preset on every machine of the cluster') from error
        over = '' if image is None else str(image.path)
        self._deaths[over] += 1
        if self._deaths[over] == _DEATHS:
            raise SegvladError(f'{_DEATHS} workers died {f"with {over} in hand" if over else "while they loaded"}; the '
                               f'last one: {one_line(error, 160)}') from error
        if image is not None:
            self._again.append(image)
            self._done_again += 1
        if image is None or worker in self._load:
            self._load.pop(worker, None)
            logger.warning('a worker died, and is replaced (%s)', one_line(error, 160))
            self._ray.kill(worker)  # where it is only out of reach, it would hold a GPU
            self._start_worker()


def _connect(ray: Any, address: str) -> None:
    """Be a driver of a cluster.

    :raises SegvladError: it cannot be reached
    """
    own = {'include_dashboard': False} if address == 'local' else {}
    try:
        if address not in ('local', 'auto'):
            _knock(address)  # Ray itself takes minutes, and says it in many lines
        with _silent_stderr():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except (ConnectionError, OSError, ValueError, RuntimeError, ImportError) as error:
        what = {'local': 'no Ray cluster could be started here', 'auto': 'no Ray cluster runs here'}
        raise SegvladError(f'{what.get(address, f"no answer of a Ray cluster at {address}")}: '
                           f'{one_line(error, 200)}') from error


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Without what Ray's C++ writes while it tries to connect; how that ends is an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, 'w') as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _knock(address: str) -> None:
    """See whether anything listens.

    :raises ValueError: no host and port
    :raises OSError: nothing listens
    """
    parts = urlsplit(address if '://' in address else f'//{address}')
    if parts.hostname is None or parts.port is None:
        raise ValueError('write host:port, ray://host:port, auto or local')
    socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_S).close()


def _known(error: Any) -> Exception:
    """The error that a worker raised, without Ray's traceback of it."""
    cause = error.cause
    if isinstance(cause, SegvladError):
        return cause
    return SegvladError(f'a worker failed: {type(cause).__name__}: {one_line(cause, 300)}')
