"""Random search: every candidate is drawn anew. What any evolver must beat at equal evaluations."""

import jax
from jax.tree_util import Partial

from jgaprune.ops import make_rows
from jgaprune.types import Evolver, Fitness, Genomes, Key, MaskSpace


def random_search(space: MaskSpace, *, population: int) -> Evolver:
    """Candidates sampled from the space, whatever was found before; the search keeps the best.

    Args:
      space: what is sampled.
      population: candidates per generation, `P`.

    Raises:
      ValueError: `population` is below 1.
    """
    if population < 1:
        raise ValueError(f"population must be at least 1, got {population}.")
    return Evolver(_init, Partial(_ask, _Population(population), space), _tell)


def _init(key: Key, genomes: Genomes, fitness: Fitness) -> tuple[()]:
    return ()


@jax.tree_util.register_static
class _Population(int):
    """How many candidates a generation has."""


def _ask(population: _Population, space: MaskSpace, key: Key, state: tuple[()]):
    return make_rows(space.sample, jax.random.split(key, population)), state


def _tell(key: Key, genomes: Genomes, fitness: Fitness, state: tuple[()]) -> tuple[()]:
    return state
