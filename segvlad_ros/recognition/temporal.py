"""Agreement of consecutive queries: one look-alike view deceives, a sequence of them seldom does."""
from __future__ import annotations

import numpy as np


class TemporalAgreement:
    """Counts the consecutive queries whose best candidates are covisible, each with the one before.

    It asks for covisible places only, in no order: the route may be driven backwards or at another speed. A query
    without a candidate worth the name breaks the run; a query that could not be described (blank, dark) is no
    evidence either way and should not be reported here.
    """

    def __init__(self) -> None:
        self._run = 0
        self._where = np.zeros(0, bool)
        self._stamp_ns = 0

    def reset(self) -> None:
        """Forget the run, after a clock jump or when the map changes."""
        self._run = 0

    def update(self, stamp_ns: int, entry: int | None, where: np.ndarray | None = None) -> int:
        """Take the next query.

        :param stamp_ns: of the query image; earlier than the one before means a clock jump, which resets
        :param entry: its best candidate, None if it has none
        :param where: (entries,) bool, the entries that show the place where the query may be
        :return: consecutive queries that agree, this one included; 0 without a candidate
        """
        if stamp_ns < self._stamp_ns:
            self.reset()
        self._stamp_ns = stamp_ns
        if entry is None:
            self._run = 0
            return 0
        agrees = self._run > 0 and entry < len(self._where) and self._where[entry]
        self._run = self._run + 1 if agrees else 1
        self._where = where
        return self._run
