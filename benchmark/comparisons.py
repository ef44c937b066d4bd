"""Two implementations timed in turn on one machine, and what came of it."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from segvlad_ros.evaluation.measure import median


@dataclass(frozen=True)
class Comparison:
    """One implementation against another, on the same input in the same run.

    :ivar ours, theirs: milliseconds of calls made in turn, so that the n-th of each met the same machine
    :ivar floor: smallest ratio that is good enough; 0 where none is asked
    :ivar ours_mb, theirs_mb: most memory taken on top of what was taken before, megabytes; None if not measurable
    """

    name: str
    baseline: str
    ours: Sequence[float]
    theirs: Sequence[float]
    floor: float
    ours_mb: float | None = None
    theirs_mb: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """How many times as fast ours was, pair by pair."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of :attr:`ratios`, which other work on the machine changes least."""
        return median(self.ratios)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, rounded."""
        memory = {'ours_mb': self.ours_mb, 'baseline_mb': self.theirs_mb}
        return {'name': self.name, 'baseline': self.baseline, 'ours_ms': round(median(self.ours), 3),
                'baseline_ms': round(median(self.theirs), 3), 'ratio': round(self.ratio, 2),
                'ratio_range': [round(min(self.ratios), 2), round(max(self.ratios), 2)], 'floor': self.floor,
                'good': self.ratio >= self.floor,
                **{name: None if value is None else round(value, 1) for name, value in memory.items()},
                'details': self.details}


def alternate(first: Callable[[], Any], second: Callable[[], Any], repeats: int,
              synchronise: Callable[[], None] = lambda: None,
              clock: Callable[[], float] = time.perf_counter) -> tuple[list[float], list[float]]:
    """Milliseconds of two functions, called in turn so that both see the same machine; one call each warms up.

    :param clock: ``time.process_time`` counts CPU time, which other processes of a busy machine do not change
    """
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for function, taken in zip((first, second), times):
            synchronise()
            start = clock()
            function()
            synchronise()
            if repeat:
                taken.append((clock() - start) * 1e3)
    return times
