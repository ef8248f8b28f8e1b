"""Schedules of the paper: population and mutation rate by the mean quality.

Numbers: sun-asterisk-research/ga_pruning_research, the MNIST and CIFAR-10 notebooks.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Population and mutation rate by the mean quality of the generation before.

    Attributes:
      stages: `(threshold, population, rate)`, thresholds ascending. The last stage whose
        threshold the mean exceeds holds; the first one holds otherwise, also for generation 0.
    """

    stages: tuple[tuple[float, int, float], ...]

    def stage(self, mean_quality: float) -> tuple[int, float]:
        """Population and rate for the generation after one with this mean quality.

        >>> MNIST_SCHEDULE.stage(0.8), MNIST_SCHEDULE.stage(0.91)
        ((50, 0.15), (300, 0.025))
        """
        reached = [stage for stage in self.stages[1:] if mean_quality > stage[0]]
        _, population, rate = reached[-1] if reached else self.stages[0]
        return population, rate


MNIST_SCHEDULE = Schedule(
    ((0.0, 50, 0.15), (0.8, 100, 0.1), (0.85, 150, 0.05), (0.9, 300, 0.025), (0.95, 600, 0.01))
)
CIFAR10_SCHEDULE = Schedule(
    ((0.0, 30, 0.2), (0.5, 60, 0.15), (0.6, 100, 0.1), (0.7, 200, 0.05), (0.8, 300, 0.01))
)
_PUBLISHED = {"mnist": MNIST_SCHEDULE, "cifar10": CIFAR10_SCHEDULE}


def schedule_named(schedule: str | Schedule) -> Schedule:
    """A published schedule by its name, or a checked one of your own.

    Raises:
      ValueError: unknown name, or stages that cannot be followed, all faults listed.

    >>> schedule_named("cifar10").stages[0]
    (0.0, 30, 0.2)
    """
    if isinstance(schedule, Schedule):
        faults = _faults(schedule)
        if faults:
            raise ValueError(f"the schedule cannot be followed: {'; '.join(faults)}.")
        return schedule
    if schedule not in _PUBLISHED:
        raise ValueError(
            f"schedule must be one of {', '.join(_PUBLISHED)} or a Schedule, got {schedule!r}."
        )
    return _PUBLISHED[schedule]


def initial_population(schedule: str | Schedule) -> int:
    """Size of generation 0.

    >>> initial_population("cifar10")
    30
    """
    return schedule_named(schedule).stages[0][1]


def _faults(schedule: Schedule) -> list[str]:
    thresholds = [threshold for threshold, _, _ in schedule.stages]
    faults = [] if schedule.stages else ["there is no stage"]
    if thresholds != sorted(set(thresholds)):
        faults.append(f"thresholds must ascend, got {thresholds}")
    for _, population, rate in schedule.stages:
        if population < 2:
            faults.append(f"population must be 2 or more, got {population}")
        if not 0.0 <= rate <= 1.0:
            faults.append(f"rate must be in 0..1, got {rate:g}")
    return faults
