"""When a run ends: evaluations, generations or seconds, whichever comes first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What a run may spend; None where it is not limited.

    Attributes:
      evaluations: candidates, generation 0 included; the usual number if nothing is limited.
      generations: generations after generation 0.
      seconds: wall time of the search; a search whose population changes also compiles in it.
    """

    evaluations: int | None = None
    generations: int | None = None
    seconds: float | None = None

    def resolved(self, default: int) -> "Budget":
        """The same, with the default number of evaluations if nothing is limited."""
        if (self.evaluations, self.generations, self.seconds) == (None, None, None):
            return Budget(evaluations=default)
        return self

    def after(self, evaluations: int, generation: int, seconds: float) -> "Budget":
        """As much once more, counted from where a run stands.

        >>> Budget(generations=10).after(96, 5, 2.0)
        Budget(evaluations=None, generations=15, seconds=None)
        """
        return Budget(
            self.evaluations and self.evaluations + evaluations,
            self.generations and self.generations + generation,
            self.seconds and self.seconds + seconds,
        )

    def until(self, stage: int, num_stages: int) -> "Budget":
        """What may be spent by the end of a stage, counted from 0: equal shares.

        What one stage leaves over is for the next.

        >>> Budget(evaluations=100, seconds=9.0).until(1, 3)
        Budget(evaluations=66, generations=None, seconds=6.0)
        """
        done = stage + 1
        return Budget(
            self.evaluations and self.evaluations * done // num_stages,
            self.generations and self.generations * done // num_stages,
            self.seconds and self.seconds * done / num_stages,
        )

    def faults(self) -> list[str]:
        """What is wrong with it, in words."""
        named = {
            "evaluations": self.evaluations,
            "generations": self.generations,
            "seconds": self.seconds,
        }
        return [
            f"{name} must be above 0, got {value:g}"
            for name, value in named.items()
            if value is not None and value <= 0
        ]

    def generations_left(self, generation: int, evaluations: int, children: int) -> int:
        """Whole generations that still fit, by count; large where only time limits.

        >>> Budget(evaluations=100).generations_left(0, 20, 16)
        5
        """
        left = [2**20]
        if self.evaluations is not None:
            left.append((self.evaluations - evaluations) // children)
        if self.generations is not None:
            left.append(self.generations - generation)
        return max(0, min(left))

    def expected_seconds(self, population: int, seconds_per_evaluation: float) -> float:
        """How long the run may take, candidate by candidate.

        >>> Budget(generations=9, seconds=60.0).expected_seconds(10, 0.5)
        50.0
        """
        limits = [2.0**20 if self.seconds is None else self.seconds]
        if self.evaluations is not None:
            limits.append(self.evaluations * seconds_per_evaluation)
        if self.generations is not None:
            limits.append((1 + self.generations) * population * seconds_per_evaluation)
        return min(limits)

    def out_of_time(self, seconds: float) -> bool:
        """Whether the search has used its wall time."""
        return self.seconds is not None and seconds >= self.seconds
