"""How long each stage of a piece of work took."""
from __future__ import annotations

import time


class Stopwatch:
    """Seconds by stage.

    :ivar seconds: by name of the stage
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begin = time.perf_counter()

    def lap(self, stage: str) -> None:
        """What has passed since the last lap belongs to this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._begin
        self._begin = now
