"""Wall time by phase."""

import time


class Stopwatch:
    """Wall seconds of each phase."""

    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Ends a phase; one that comes again adds up."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.last
        self.last = now

    def total(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started
