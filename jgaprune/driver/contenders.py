"""Which of several masks is the best, by fitness."""

import math
from collections.abc import Mapping

from jgaprune.report import Baseline, Measure


def fittest(measures: Mapping[str, Measure]) -> str:
    """The name of the lowest fitness; where none is known, the first."""

    def rank(name: str) -> float:
        fitness = measures[name].fitness
        return math.inf if fitness is None or math.isnan(fitness) else fitness

    return min(measures, key=rank)


def best_of(baselines: dict[str, Baseline]) -> str:
    """The one-shot masks of the best fitness after the repair, by name."""
    return fittest({name: one.repaired for name, one in baselines.items()})


def contenders(baselines: dict[str, Baseline]) -> tuple[str, ...]:
    """The best one-shot masks, and if these were trained by gradient the best of the others.

    What was trained on inputs is fitted to them the most.
    """
    untrained = {name: one for name, one in baselines.items() if name != "straight_through"}
    return tuple(dict.fromkeys((best_of(baselines), best_of(untrained))))
