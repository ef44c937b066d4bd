"""How fast a map grows."""
from __future__ import annotations

import math
from collections import deque

HOUR_NS = 3_600_000_000_000
_STEP_NS = 10_000_000_000  # between two sizes that are remembered


class Growth:
    """The size of a map over the last hour, by the stamps of its images.

    :ivar size: the last one, bytes
    """

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self._sizes: deque[tuple[int, int]] = deque()
        self._newest_ns = 0

    def note(self, stamp_ns: int, size: int) -> None:
        """Take the size at a time; time that runs backwards begins anew."""
        if stamp_ns < self._newest_ns:
            self._sizes.clear()
        self.size, self._newest_ns = size, stamp_ns
        if not self._sizes or stamp_ns - self._sizes[-1][0] >= _STEP_NS:
            self._sizes.append((stamp_ns, size))
        while stamp_ns - self._sizes[0][0] > HOUR_NS and len(self._sizes) > 1:
            self._sizes.popleft()

    @property
    def per_hour(self) -> float:
        """Bytes an hour; NaN before there is any span of time."""
        if not self._sizes or self._newest_ns == self._sizes[0][0]:
            return math.nan
        since_ns, before = self._sizes[0]
        return (self.size - before) * HOUR_NS / (self._newest_ns - since_ns)
