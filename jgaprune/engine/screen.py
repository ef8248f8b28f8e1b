"""Racing: cheap looks at every candidate, and a full evaluation of the promising ones only.

Several looks are the multi-stage selection of EvoPress (Sieberling et al., ICML 2025,
arXiv:2410.14649): each on more inputs than the one before, for those that it left. All candidates
of a look share its inputs and random draw. Parents take no part: their fitness is one of a full
evaluation, so they meet their children in the last stage only.

Nothing leaves the device in between. The winner of a full evaluation may have been screened out,
so the search is another one; `benchmarks/racing.py` measures how often.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import jax
import jax.numpy as jnp

from jgaprune.types import Array, Fitness, Objective

ROUNDING = 1e-9
"""Of a cost that is a fraction, so that it is not rounded up for nothing."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Screen:
    """How candidates are looked at before they are evaluated.

    Attributes:
      objective: of a candidate, cheaper than the search's own: on fewer inputs, for example.
      survivors: candidates of a generation that go on, to the next look or a full evaluation.
      cost: of one look, in full evaluations; counted against a budget of evaluations.
    """

    objective: Objective
    survivors: int = field(metadata={"static": True})
    cost: float = field(metadata={"static": True})

    def faults(self) -> list[str]:
        """What is wrong with it, in words."""
        found = []
        if self.survivors < 1:
            found.append(f"a screen needs at least 1 survivor, got {self.survivors}")
        if not 0 < self.cost <= 1:
            found.append(f"the cost of a look must be in (0, 1] evaluations, got {self.cost:g}")
        return found


Screens = tuple[Screen, ...]
"""Looks in the order in which candidates meet them; none to evaluate everyone."""


def as_screens(screen: Screen | Sequence[Screen] | None) -> Screens:
    """One look, several, or none, as a tuple.

    Raises:
      ValueError: a look is impossible, or does not fit those before it; every fault is named.
    """
    screens = () if screen is None else (screen,) if isinstance(screen, Screen) else tuple(screen)
    faults = [fault for one in screens for fault in one.faults()]
    for before, after in pairwise(screens):
        if after.survivors >= before.survivors:
            faults.append(
                f"survivors must fall from look to look, got {after.survivors} after "
                f"{before.survivors}"
            )
        if after.cost <= before.cost:
            faults.append(
                "the cost must grow from look to look, as the inputs do, got "
                f"{after.cost:g} after {before.cost:g}"
            )
    if faults:
        raise ValueError("; ".join(faults) + ".")
    return screens


def met(screens: Sequence[Screen], population: int) -> Iterator[tuple[Screen, int]]:
    """The looks that leave someone out, and how many candidates meet each."""
    for screen in screens:
        if screen.survivors < population:
            yield screen, population
            population = screen.survivors


def evaluations(screens: Sequence[Screen], population: int) -> int:
    """What a generation costs, in full evaluations; all looks together are rounded up.

    >>> evaluations([Screen(max, 8, cost=1 / 16), Screen(max, 2, cost=1 / 4)], population=16)
    5
    """
    looks = list(met(screens, population))
    finalists = looks[-1][0].survivors if looks else population
    return finalists + math.ceil(sum(num * one.cost for one, num in looks) - ROUNDING)


def most_promising(screen: Screen, looks: Fitness) -> Array:
    """Indices `int32 [survivors]` of the candidates with the lowest fitness at a look `[P]`."""
    return jnp.argsort(looks)[: screen.survivors]
