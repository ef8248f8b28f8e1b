"""Timing of things that are to be compared: in one process, in turns, as medians with spread.

Machines drift: other processes come and go, clocks change. Rounds in which everything runs once
spread that over all of them alike, and ratios within a round hardly feel it.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

Runner = Callable[[], object]
"""Does the work once and returns when it is done, on the device too."""


class Timing(NamedTuple):
    """Seconds of one runner over all rounds.

    Attributes:
      median: of the rounds.
      low: first quartile.
      high: third quartile.
      samples: one per round, in order.
    """

    median: float
    low: float
    high: float
    samples: tuple[float, ...]


def in_turns(
    runners: dict[str, Runner], *, rounds: int, at_least_seconds: float = 0.1
) -> dict[str, Timing]:
    """Times runners in turns.

    Each runs once before, unmeasured; one that is quick is repeated within a round until its
    repetitions take `at_least_seconds`.

    Args:
      runners: by name.
      rounds: measurements of each.
      at_least_seconds: least time that one measurement should take.

    Returns:
      Seconds per run, by name.
    """
    repetitions = {}
    for name, runner in runners.items():
        runner()
        repetitions[name] = max(1, int(at_least_seconds / max(_seconds(runner, 1), 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            samples[name].append(_seconds(runner, repetitions[name]))
    return {name: _summary(values) for name, values in samples.items()}


def _seconds(runner: Runner, repetitions: int) -> float:
    started = time.perf_counter()
    for _ in range(repetitions):
        runner()
    return (time.perf_counter() - started) / repetitions


def _summary(samples: list[float]) -> Timing:
    if len(samples) == 1:
        return Timing(samples[0], samples[0], samples[0], tuple(samples))
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(median, low, high, tuple(samples))
