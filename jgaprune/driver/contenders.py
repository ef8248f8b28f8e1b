"""Which of several masks is the best, by fitness."""

import math
from collections.abc import Mapping

from jgaprune.report import Baseline, Measure

_BY_GRADIENT = "straight_through"
_FITTED = ("gradual", _BY_GRADIENT)
"""Baselines whose masks came about while weights were refitted or trained."""


def fittest(measures: Mapping[str, Measure]) -> str:
    """The name of the lowest fitness; where none is known, the first."""

    def rank(name: str) -> float:
        fitness = measures[name].fitness
        return math.inf if fitness is None or math.isnan(fitness) else fitness

    return min(measures, key=rank)


def best_of(baselines: dict[str, Baseline]) -> str:
    """The one-shot masks of the best fitness after the repair, by name."""
    return fittest({name: one.repaired for name, one in baselines.items()})


def best_untrained(baselines: dict[str, Baseline]) -> str:
    """The best of those that nothing was fitted or trained for on the way to them."""
    return best_of({name: one for name, one in baselines.items() if name not in _FITTED})


def contenders(baselines: dict[str, Baseline]) -> tuple[str, ...]:
    """The best masks to start from; the best not trained by gradient; the best one-shot ones.

    What was fitted to inputs the least has the most to gain from training afterwards. Those that
    were trained are among them always: there are weights that were trained along.
    """
    others = {name: one for name, one in baselines.items() if name != _BY_GRADIENT}
    trained = [name for name in baselines if name == _BY_GRADIENT]
    best = best_of(baselines), best_of(others), best_untrained(baselines)
    return tuple(dict.fromkeys((*best, *trained)))
