"""EvoPress's evolver: one parent, mutated children, and the best of all is the next parent.

Meant for few genes, such as those of the space `levels`, where crossover has little to combine and
every step counts; it works on any space. What EvoPress calls multi-step selection, many children
looked at on few inputs, is racing here, a matter of the search and of no evolver.

Method: Sieberling et al., "EvoPress", 2024, arXiv:2410.14649.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.evolvers.duplicates import without_duplicates
from jgaprune.evolvers.strength import log_uniform, strength_fault
from jgaprune.ops import make_rows
from jgaprune.packed import fingerprint
from jgaprune.types import Array, Evolver, Fitness, Genome, Genomes, Key, MaskSpace


class LevelSwitchState(NamedTuple):
    """The parent.

    Attributes:
      genomes: the parent alone, leading axis 1.
      fitness: `float32 [1]`.
    """

    genomes: Genomes
    fitness: Fitness


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Settings:
    population: int
    strength: tuple[float, float]


def level_switch(
    space: MaskSpace, *, population: int, strength: tuple[float, float] | None = None
) -> Evolver:
    """One parent, and children by mutation alone: a (1 + `population`) evolution strategy.

    Children that equal the parent or another child are mutated once more. A child as good as the
    parent takes its place. Generation 0 may be of any size.

    Args:
      space: mutates.
      population: children per generation, `P`.
      strength: bounds of the mutation strength, in 0..1, log-uniform per child; by default those
        that suit the space.

    Raises:
      ValueError: a setting is out of its range.
    """
    settings = _Settings(population, strength or space.strength)
    faults = [strength_fault(settings.strength)]
    if population < 1:
        faults.append(f"population must be at least 1, got {population}")
    if found := [fault for fault in faults if fault]:
        raise ValueError("; ".join(found) + ".")
    return Evolver(Partial(_init), Partial(_ask, settings, space), Partial(_tell))


def _init(key: Key, genomes: Genomes, fitness: Fitness) -> LevelSwitchState:
    return _best(genomes, fitness)


def _ask(
    settings: _Settings, space: MaskSpace, key: Key, state: LevelSwitchState
) -> tuple[Genomes, LevelSwitchState]:
    strength_key, mutate_key, again_key = jax.random.split(key, 3)
    parent = jax.tree.map(lambda leaf: leaf[0], state.genomes)
    strength = log_uniform(strength_key, settings.strength, settings.population)

    def child(key: Key, strength: Array) -> tuple[Genome, Array]:
        mutant = space.mutate(key, parent, strength)
        return mutant, fingerprint(mutant)

    keys = jax.random.split(mutate_key, settings.population)
    children, prints = make_rows(child, keys, strength)
    known = fingerprint(parent)[None]
    children, _ = without_duplicates(space, again_key, children, prints, known, strength)
    return children, state


def _tell(
    key: Key, genomes: Genomes, fitness: Fitness, state: LevelSwitchState
) -> LevelSwitchState:
    child = _best(genomes, fitness)
    replaced = child.fitness[0] <= state.fitness[0]
    return jax.tree.map(lambda new, old: jnp.where(replaced, new, old), child, state)


def _best(genomes: Genomes, fitness: Fitness) -> LevelSwitchState:
    best = jnp.argmin(fitness)[None]
    return LevelSwitchState(jax.tree.map(lambda leaf: leaf[best], genomes), fitness[best])
