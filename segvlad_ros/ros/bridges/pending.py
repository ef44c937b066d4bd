"""What waits until a back-end knows its keyframes."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST = 1000  # waiting at once; the oldest is given up for a newer one


@dataclass
class _Pending:
    item: Any
    deadline_s: float
    reason: str = ''


class PendingMessages:
    """Items that are tried again until they can be sent or their time is up. Not thread-safe.

    :param send: tries to send an item; '' if it went out, else what it waits for
    :param give_up: receives an item whose time is up, and what it waited for
    :param hold_s: longest wait
    :param now_s: steady clock, seconds
    """

    def __init__(self, send: Callable[[Any], str], give_up: Callable[[Any, str], None], hold_s: float,
                 now_s: Callable[[], float]) -> None:
        self._send, self._give_up = send, give_up
        self._hold_s, self._now_s = hold_s, now_s
        self._waiting: deque[_Pending] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Any) -> None:
        """Send an item now, or as soon as it can be sent."""
        waiting = _Pending(item, self._now_s() + self._hold_s)
        if not self._sent(waiting):
            self._waiting.append(waiting)
        if len(self._waiting) > MOST:
            oldest = self._waiting.popleft()
            self._give_up(oldest.item, f'{oldest.reason}, and {MOST} newer ones wait')

    def retry(self) -> None:
        """Try all again; what has waited too long is given up."""
        for _ in range(len(self._waiting)):
            waiting = self._waiting.popleft()
            if self._sent(waiting):
                continue
            if self._now_s() < waiting.deadline_s:
                self._waiting.append(waiting)
            else:
                self._give_up(waiting.item, f'{waiting.reason}, {self._hold_s:g} s long')

    def _sent(self, waiting: _Pending) -> bool:
        waiting.reason = self._send(waiting.item)
        return not waiting.reason
