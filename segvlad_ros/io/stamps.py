"""Stamps of messages as drivers and networks make them: out of order, of two clocks; and as people read them."""
from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

LATE_S = 3.0
"""An image behind a newer one by up to this is late. Stamps that stay back longer are a clock that jumped back."""

_OF_THE_DAY_NS = 10**18  # later stamps are times of day (2001 and after), earlier ones count from some start


def stamp_ns(message: Any) -> int:
    """Header stamp of a message, of rclpy or of a bag, nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def nearest(stamps: Sequence[int], stamp: int) -> int | None:
    """Number of the stamp nearest to another, the earlier of two; None without any.

    :param stamps: (n,) ascending
    """
    at = bisect.bisect_left(stamps, stamp)
    around = range(max(0, at - 1), min(at + 1, len(stamps)))
    return min(around, key=lambda number: abs(stamps[number] - stamp), default=None)


@dataclass(frozen=True)
class StampOrder:
    """In which order images are handed out.

    :ivar places: for each image, as it came, its number in that order; None for those that are left out
    :ivar late: images that came behind a newer one and are sorted in
    :ivar too_late: images that came more than :data:`LATE_S` behind a newer one, and are left out
    :ivar jumps: how often the clock jumped back; images before and behind a jump are not mixed
    """

    places: list[int | None]
    late: int
    too_late: int
    jumps: int


def order_of(stamps: Sequence[int]) -> StampOrder:
    """Sort images by their stamps, but across a jump of the clock.

    Behind a late image the stamps go on from where they were before; behind a jump of the clock (a bag that starts
    again, a clock that was set) they stay back. So what lies behind the newest stamp is looked at as a group, up to the
    image that is newer again: a group within :data:`LATE_S` of the newest stamp is late; an older one that covers
    more than that, or with which the bag ends, is a jump; else its images came too late to be waited for.

    :param stamps: (n,) nanoseconds, as the images came
    """
    late_ns = round(LATE_S * 1e9)
    begins, left_out, late = [0], set(), 0
    newest, at = None, 0
    while at < len(stamps):
        if newest is None or stamps[at] >= newest:
            newest, at = stamps[at], at + 1
            continue
        end = next((i for i in range(at, len(stamps)) if stamps[i] >= newest), len(stamps))
        group = stamps[at:end]
        stays_back = max(group) - min(group) > late_ns or (end == len(stamps) and len(group) > 1)
        if newest - min(group) > late_ns and stays_back:
            # the jump is where the stamps are first too far back; late images may come right before it
            jump = next(i for i in range(at, end) if newest - stamps[i] > late_ns)
            late += jump - at
            begins.append(jump)
            newest, at = None, jump
            continue
        too_late = {i for i in range(at, end) if newest - stamps[i] > late_ns}
        left_out |= too_late
        late += len(group) - len(too_late)
        at = end
    return StampOrder(_places(stamps, begins, left_out), late, len(left_out), len(begins) - 1)


def _places(stamps: Sequence[int], begins: list[int], left_out: set[int]) -> list[int | None]:
    places: list[int | None] = [None] * len(stamps)
    number = 0
    for begin, end in zip(begins, [*begins[1:], len(stamps)]):
        for i in sorted(set(range(begin, end)) - left_out, key=lambda i: (stamps[i], i)):
            places[i] = number
            number += 1
    return places


class StampDoubt:
    """Tells one wrong stamp from a clock that was set: one far off those before counts when the next agrees with it.

    :param far_s: seconds
    :ivar strays: messages that were left out
    """

    def __init__(self, far_s: float) -> None:
        self._far_ns = round(far_s * 1e9)
        self._newest_ns: int | None = None
        self._doubted: tuple[int, Any] | None = None
        self.strays = 0

    def believed(self, stamp_ns: int, message: Any) -> list[tuple[int, Any]]:
        """Take a message, and return those that count from now on: none, this one, or the one before, too."""
        doubted, self._doubted = self._doubted, None
        far_ns = 0 if self._newest_ns is None else abs(stamp_ns - self._newest_ns)
        if far_ns <= self._far_ns:
            self.strays += doubted is not None
            self._newest_ns = max(stamp_ns, self._newest_ns or stamp_ns)
            return [(stamp_ns, message)]
        if doubted is not None and abs(stamp_ns - doubted[0]) < far_ns:
            self._newest_ns = stamp_ns
            return [doubted, (stamp_ns, message)]
        self.strays += doubted is not None
        self._doubted = stamp_ns, message
        return []


class StampRhythm:
    """How many images of a regular stream are missing, guessed from the stamps of those that came.

    The shortest steps between stamps are taken for the period of the camera, if the others are multiples of it. Steps
    that all grow are a camera that has become slower (in the dark, say), and a long one is a pause.
    """

    _WINDOW, _LEAST, _STEADY = 100, 10, 8

    def __init__(self) -> None:
        self._last_ns = 0
        self._steps: deque[int] = deque(maxlen=self._WINDOW)

    def add(self, stamp_ns: int) -> None:
        """Take the stamp of the next image; 0 is none."""
        step, self._last_ns = stamp_ns - self._last_ns, stamp_ns
        if not 0 < step < LATE_S * 1e9:
            self._steps.clear()
            return
        self._steps.append(step)
        newest = list(self._steps)[-self._STEADY:]
        if len(newest) == self._STEADY and min(newest) > 1.5 * min(self._steps) and max(newest) < 1.2 * min(newest):
            self._steps = deque(newest, self._WINDOW)

    def missing_ratio(self) -> float:
        """Share of the last images that did not come, NaN where the stamps have no clear rhythm."""
        if len(self._steps) < self._LEAST:
            return math.nan
        steps = np.array(self._steps, float)
        single = steps[steps < 1.5 * steps.min()]
        periods = steps / np.median(single)
        whole = np.round(periods)
        near = whole <= 8  # what the period is wrong by adds up
        if len(single) < 3 or (abs(periods - whole)[near] < 0.2).mean() < 0.8:
            return math.nan
        return float(1.0 - len(steps) / whole.sum())


def as_time(stamp_ns: int) -> str:
    """A stamp for people: seconds, and the time of day where it is one."""
    seconds = f'{stamp_ns / 1e9:.3f} s'
    if stamp_ns < _OF_THE_DAY_NS:
        return seconds
    return f'{datetime.fromtimestamp(stamp_ns // 10**9, timezone.utc):%Y-%m-%d %H:%M:%S} UTC ({seconds})'


def spans_apart(first: str, first_ns: Collection[int], second: str, second_ns: Collection[int],
                tolerance_s: float = 1.0) -> str | None:
    """Whether two topics are stamped by clocks that have nothing to do with each other.

    :param first, second: what the stamps belong to, for the sentence
    :param first_ns, second_ns: stamps in nanoseconds, in any order
    :param tolerance_s: spans that miss each other by less only begin and end one after the other
    :return: one sentence with both spans of time, or None where they meet or one of them is empty
    """
    if not len(first_ns) or not len(second_ns):
        return None
    begin, end, other, last = (int(f(stamps)) for stamps in (first_ns, second_ns) for f in (min, max))
    if max(begin, other) - min(end, last) <= tolerance_s * 1e9:
        return None
    return (f'the stamps of {first} ({as_time(begin)} to {as_time(end)}) and of {second} ({as_time(other)} to '
            f'{as_time(last)}) do not meet: their clocks differ')
