"""Messages of a bag that could not be used, each reason said once."""
from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)
_SHOWN = 3  # reasons; damage can give every message one of its own


class Unused:
    """Counts why messages were not used, so that a fault of all the images of a bag takes one line.

    :param what: the messages are called, such as 'images'
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._reasons: dict[str, list[int]] = {}  # stamps by reason, in order of appearance

    def __len__(self) -> int:
        return sum(map(len, self._reasons.values()))

    def add(self, reason: str, stamp_ns: int) -> None:
        """Count one message."""
        self._reasons.setdefault(reason, []).append(stamp_ns)

    @property
    def main_reason(self) -> str:
        """The reason of most of them; '' if all were used."""
        return max(self._reasons, key=lambda reason: len(self._reasons[reason]), default='')

    def warn(self, path: Path) -> None:
        """Log each reason, with how many messages it struck and the first of them."""
        for reason, stamps in list(self._reasons.items())[:_SHOWN]:
            logger.warning('%s: %d %s not used, the first at %d ns: %s', path, len(stamps), self._what, stamps[0],
                           reason)
        rest = list(self._reasons.values())[_SHOWN:]
        if rest:
            logger.warning('%s: %d %s more not used, for %d other reasons', path, sum(map(len, rest)), self._what,
                           len(rest))
