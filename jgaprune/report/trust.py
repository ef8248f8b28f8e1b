"""How far a run's fitness can be trusted: what it says where the search has not looked."""

import math
from dataclasses import dataclass
from typing import NamedTuple

_NEXT_TO_NOTHING = 1e-4
_LITTLE_CORRELATION = 0.3


class Fitness(NamedTuple):
    """Of the result and of the best one-shot masks with the same repair, on the same inputs."""

    evolved: float
    baseline: float

    @property
    def gain(self) -> float:
        """Share of the baseline's fitness that the search took away; below 0 if it added some.

        >>> Fitness(evolved=0.3, baseline=0.4).gain
        0.25
        """
        difference = self.baseline - self.evolved
        return round(difference / abs(self.baseline), 6) if self.baseline else 0.0


@dataclass(frozen=True)
class HeldOut:
    """The search's gain on inputs that neither the search nor the repair has seen.

    Attributes:
      inputs: how they were made: "varied", "noise" or "synthesised".
      num_inputs: how many.
      baseline: name of the best one-shot masks.
      seen: fitness on the inputs of the search.
      unseen: fitness on the held-out ones.
    """

    inputs: str
    num_inputs: int
    baseline: str
    seen: Fitness
    unseen: Fitness

    def warnings(self) -> tuple[str, ...]:
        """A sentence where the gain is gone, or shrinks by more than half."""
        if not self.seen.gain > _NEXT_TO_NOTHING or not math.isfinite(self.seen.gain):
            return ()
        numbers = (
            f"on {self.num_inputs} other inputs ({self.inputs}) fitness is "
            f"{number(self.unseen.evolved)}, that of {self.baseline} {number(self.unseen.baseline)}"
        )
        if not self.unseen.gain > 0:
            return (
                f"The search probably fooled itself: {numbers}. Use the masks of {self.baseline}, "
                "or give more unlabelled inputs.",
            )
        if self.unseen.gain < self.seen.gain / 2:
            return (
                f"More than half of the search's gain, {100 * self.seen.gain:.1f} %, is lost on "
                f"other inputs: {numbers}. More unlabelled inputs would help.",
            )
        return ()


@dataclass(frozen=True)
class RankCorrelation:
    """Whether masks with a lower fitness have a lower error.

    Attributes:
      spearman: correlation of fitness with error on the evaluation data, -1..1; None where all
        fitnesses or all errors are equal.
      num_masks: measured: the one-shot masks, the result and random ones around it.
    """

    spearman: float | None
    num_masks: int

    def warnings(self) -> tuple[str, ...]:
        """A sentence where fitness says little of accuracy."""
        if self.spearman is not None and self.spearman >= _LITTLE_CORRELATION:
            return ()
        said = "not defined" if self.spearman is None else f"{self.spearman:.2f}"
        return (
            f"Fitness says little of accuracy here: over {self.num_masks} masks their rank "
            f"correlation is {said}. Try another objective or other inputs.",
        )


@dataclass(frozen=True)
class Trust:
    """What is known of how far fitness can be trusted; None for what was not looked at."""

    held_out: HeldOut | None = None
    rank_correlation: RankCorrelation | None = None

    def warnings(self) -> tuple[str, ...]:
        """What a reader of the numbers should know."""
        parts = (self.held_out, self.rank_correlation)
        return tuple(sentence for part in parts if part for sentence in part.warnings())

    def document(self) -> dict[str, object]:
        """As JSON values, but for numbers that are not finite."""
        held, ranks = self.held_out, self.rank_correlation
        return {
            "held_out": held
            and {
                **vars(held),
                **{name: _with_gain(getattr(held, name)) for name in ("seen", "unseen")},
            },
            "rank_correlation": ranks and vars(ranks),
        }

    def lines(self) -> dict[str, str]:
        """For the text of the report."""
        lines = {}
        if held := self.held_out:
            for where, fitness in (("search's inputs", held.seen), ("other inputs", held.unseen)):
                lines[where] = (
                    f"{number(fitness.evolved)} evolved, {number(fitness.baseline)} "
                    f"{held.baseline}: {100 * fitness.gain:+.1f} % gained"
                )
            lines["those are"] = f"{held.num_inputs} inputs, {held.inputs}"
        if ranks := self.rank_correlation:
            said = "not defined" if ranks.spearman is None else f"{ranks.spearman:.3f}"
            lines["rank correlation"] = (
                f"{said}, of fitness with error over {ranks.num_masks} masks"
            )
        return lines


def number(value: float) -> str:
    """With four digits.

    >>> number(0.25)
    '0.2500'
    """
    return f"{value:#.4g}"


def _with_gain(fitness: Fitness) -> dict[str, float]:
    return {**fitness._asdict(), "gain": fitness.gain}
