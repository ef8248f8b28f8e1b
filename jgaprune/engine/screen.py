"""Racing: a cheap look at every candidate, and a full evaluation of the promising ones only.

Nothing leaves the device in between. The winner of a full evaluation may have been screened out,
so the search is another one; `benchmarks/racing.py` measures how often.
"""

import math
from dataclasses import dataclass, field

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
      survivors: candidates of a generation that are evaluated in full.
      cost: of one look, in full evaluations; counted against a budget of evaluations.
    """

    objective: Objective
    survivors: int = field(metadata={"static": True})
    cost: float = field(metadata={"static": True})

    def evaluations(self, population: int) -> int:
        """What a generation costs, in full evaluations, rounded up.

        >>> Screen(max, survivors=4, cost=0.125).evaluations(20)
        7
        """
        if population <= self.survivors:
            return population
        return self.survivors + math.ceil(population * self.cost - ROUNDING)

    def faults(self) -> list[str]:
        """What is wrong with it, in words."""
        found = []
        if self.survivors < 1:
            found.append(f"a screen needs at least 1 survivor, got {self.survivors}")
        if not 0 < self.cost <= 1:
            found.append(f"the cost of a look must be in (0, 1] evaluations, got {self.cost:g}")
        return found


def most_promising(screen: Screen, looks: Fitness) -> Array:
    """Indices `int32 [survivors]` of the candidates with the lowest fitness at a look `[P]`."""
    return jnp.argsort(looks)[: screen.survivors]
