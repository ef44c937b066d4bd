"""What a node counts and measures, and the facts about its map: what status and diagnostics say."""
from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from segvlad_ros.io.stamps import StampRhythm
from segvlad_ros.types import KeyframeId

WINDOW = 100  # images or keyframes that percentiles and ratios are taken over


@dataclass
class Counts:
    """Counters since the node was configured; names as in msg/SegVladStatus.

    :ivar images_received: images whose fate is known: dropped, rejected, passed by the gate, or made a keyframe. An
        image in hand is not counted yet, so that a player may wait for this number before it sends the next image
    :ivar images_lost, depth_images_lost: that were published and never arrived, as far as the middleware tells
    :ivar incomplete: images that went on without an input that somebody publishes
    :ivar odometry_leaps: how often odometry began anew, as after a restart of its driver
    :ivar clock_jumps: how often the stamps jumped back
    :ivar gaps: keyframes of another node that never came
    :ivar closures_accepted, closures_rejected, closures_unusable: loop closures that the SLAM back-end reported back
    """

    images_received: int = 0
    images_dropped: int = 0
    images_rejected: int = 0
    images_lost: int = 0
    depth_images_lost: int = 0
    keyframes_processed: int = 0
    matches_published: int = 0
    keyframes_explained: int = 0
    keyframes_refused: int = 0
    keyframes_evicted: int = 0
    incomplete: int = 0
    odometry_leaps: int = 0
    clock_jumps: int = 0
    descriptors_rejected: int = 0
    gaps: int = 0
    closures_accepted: int = 0
    closures_rejected: int = 0
    closures_unusable: int = 0


@dataclass(frozen=True)
class Snapshot:
    """The statistics at one moment.

    :ivar input_rate_hz: images (or keyframes) a second over the last ones, NaN if unknown
    :ivar drop_ratio: share of the last images that were replaced before they were processed
    :ivar lost_ratios: share of the last images, and depth images, that never arrived, where the middleware can tell
    :ivar missing_ratio: that of the images guessed from their stamps, NaN if unknown
    :ivar latency_p50_s, latency_p95_s: receipt to result, NaN if unknown
    :ivar stages: name to (p50, p95) seconds
    :ivar input_age_s: since the last input, infinite if there was none
    :ivar match_age_s: since the last match, NaN if there was none
    """

    counts: Counts
    input_rate_hz: float
    drop_ratio: float
    lost_ratios: dict[str, float]
    missing_ratio: float
    latency_p50_s: float
    latency_p95_s: float
    stages: dict[str, tuple[float, float]]
    input_age_s: float
    match_age_s: float


class Statistics:
    """Thread-safe counters, latencies and ages.

    :param now_s: steady clock, seconds
    """

    def __init__(self, now_s=time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._counts = Counts()
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        self._dropped: deque[bool] = deque(maxlen=WINDOW)
        self._lost: dict[str, deque[bool]] = {}
        self._rhythm = StampRhythm()
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._stages: dict[str, deque[float]] = {}
        self._last_match_s = math.nan

    def count(self, **amounts: int) -> None:
        """Add to counters, all at once: ``count(images_received=1, images_rejected=1)``."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self._counts, name, getattr(self._counts, name) + amount)

    def arrived(self, stamp_ns: int = 0) -> float:
        """Note an input now.

        :param stamp_ns: of an image
        :return: the time, as :meth:`handled` wants it
        """
        with self._lock:
            self._arrivals.append(self._now_s())
            self._rhythm.add(stamp_ns)
            return self._arrivals[-1]

    def lost(self, what: str, count: int) -> None:
        """Note messages that never arrived; 0: the middleware tells when some do not.

        :param what: 'images' or 'depth_images'
        """
        self.count(**{f'{what}_lost': count})
        with self._lock:
            self._lost.setdefault(what, deque(maxlen=WINDOW)).extend([True] * min(count, WINDOW))

    def came(self, what: str) -> None:
        """Note one that did arrive."""
        with self._lock:
            if what in self._lost:
                self._lost[what].append(False)

    def dropped(self) -> None:
        """Note an image that was replaced before it was processed."""
        with self._lock:
            self._counts.images_received += 1
            self._counts.images_dropped += 1
            self._dropped.append(True)

    def passed(self) -> None:
        """Note an image that was looked at: it is not dropped, whatever becomes of it."""
        with self._lock:
            self._dropped.append(False)

    def handled(self, received_s: float, timings: dict[str, float]) -> None:
        """Note a processed keyframe.

        :param received_s: steady time of its receipt, as :meth:`arrived` returned it
        :param timings: seconds by stage
        """
        with self._lock:
            self._counts.keyframes_processed += 1
            self._latencies.append(self._now_s() - received_s)
            for name, seconds in timings.items():
                self._stages.setdefault(name, deque(maxlen=WINDOW)).append(seconds)

    def matched(self) -> None:
        """Note a published match."""
        with self._lock:
            self._counts.matches_published += 1
            self._last_match_s = self._now_s()

    def snapshot(self) -> Snapshot:
        """The statistics now."""
        with self._lock:
            now = self._now_s()
            span = self._arrivals[-1] - self._arrivals[0] if len(self._arrivals) > 1 else 0.0
            return Snapshot(
                Counts(**vars(self._counts)),
                (len(self._arrivals) - 1) / span if span > 0 else math.nan,
                _share(self._dropped), {what: _share(lost) for what, lost in self._lost.items()},
                self._rhythm.missing_ratio(), *_percentiles(self._latencies),
                {name: _percentiles(seconds) for name, seconds in self._stages.items()},
                now - self._arrivals[-1] if self._arrivals else math.inf, now - self._last_match_s)


def _share(outcomes: deque[bool]) -> float:
    return sum(outcomes) / len(outcomes) if outcomes else 0.0


def _percentiles(seconds: deque[float]) -> tuple[float, float]:
    if not seconds:
        return math.nan, math.nan
    return tuple(np.percentile(np.fromiter(seconds, float), (50, 95)).tolist())


@dataclass(frozen=True)
class MapFacts:
    """What status and diagnostics say about the map.

    :ivar bytes: size of the file, 0 without one
    :ivar bytes_per_keyframe: 0 if unknown
    :ivar bytes_per_hour: what it has grown by over the last hour of images, NaN if unknown
    :ivar evicted: the last keyframes that had to make room, the newest last
    :ivar keyframe_subscribers: who takes its keyframes as they are made
    """

    map_id: str = ''
    keyframes: int = 0
    segments: int = 0
    bytes: int = 0
    bytes_per_keyframe: int = 0
    bytes_per_hour: float = math.nan
    evicted: tuple[KeyframeId, ...] = ()
    keyframe_subscribers: int = 0
