"""When a run ends: evaluations, generations, seconds and so on, whichever comes first."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Budget:
    """What a run may spend; None where it is not limited.

    Attributes:
      evaluations: candidates, generation 0 included; the usual number if nothing is limited.
      generations: generations after generation 0.
      seconds: wall time of the search; a search whose population changes also compiles in it.
      target: a fitness that is good enough.
      patience: generations without a better best, after which a search is given up.
    """

    evaluations: int | None = None
    generations: int | None = None
    seconds: float | None = None
    target: float | None = None
    patience: int | None = None

    def resolved(self, default: int) -> "Budget":
        """The same, with the default number of evaluations if nothing is limited."""
        if (self.evaluations, self.generations, self.seconds) == (None, None, None):
            return replace(self, evaluations=default)
        return self

    def after(self, evaluations: int, generation: int, seconds: float) -> "Budget":
        """As much once more, counted from where a run stands.

        >>> Budget(generations=10).after(96, 5, 2.0).generations
        15
        """
        return replace(
            self,
            evaluations=self.evaluations and self.evaluations + evaluations,
            generations=self.generations and self.generations + generation,
            seconds=self.seconds and self.seconds + seconds,
        )

    def until(self, stage: int, num_stages: int) -> "Budget":
        """What may be spent by the end of a stage, counted from 0: equal shares.

        What one stage leaves over is for the next.

        >>> share = Budget(evaluations=100, seconds=9.0).until(1, 3)
        >>> share.evaluations, share.seconds
        (66, 6.0)
        """
        done = stage + 1
        return replace(
            self,
            evaluations=self.evaluations and self.evaluations * done // num_stages,
            generations=self.generations and self.generations * done // num_stages,
            seconds=self.seconds and self.seconds * done / num_stages,
        )

    def faults(self) -> list[str]:
        """What is wrong with it, in words."""
        named = {
            "evaluations": self.evaluations,
            "generations": self.generations,
            "seconds": self.seconds,
            "patience": self.patience,
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

    def fits(self, seconds: float, each: float) -> int:
        """Generations that the time left is enough for, at least one; large where it is no limit.

        >>> Budget(seconds=10.0).fits(7.0, each=0.5)
        6
        """
        if self.seconds is None or not each:
            return 2**20
        return max(1, int((self.seconds - seconds) / each))

    @property
    def watches_every_generation(self) -> bool:
        """Whether it may end after any of them."""
        return self.target is not None or self.patience is not None

    def is_good_enough(self, best: float) -> bool:
        """Whether a fitness is what was asked for."""
        return self.target is not None and best <= self.target

    def is_reached(self, best: Sequence[float], since: int) -> bool:
        """Whether the best is good enough, or has not become better for too long.

        Args:
          best: best fitness so far, one entry per generation.
          since: index of the first generation that counts.

        >>> Budget(patience=2).is_reached([3.0, 2.0, 2.0, 2.0], since=0)
        True
        """
        if self.is_good_enough(best[-1]):
            return True
        first = max(since, bisect_left(best, -best[-1], key=lambda value: -value))
        return self.patience is not None and len(best) - 1 - first >= self.patience
