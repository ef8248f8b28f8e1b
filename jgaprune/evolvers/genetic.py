"""The default evolver: an elitist genetic algorithm for any mask space.

Parents are chosen by tournament, crossed and mutated by the space's own operators, and the best
of parents and children survive. Each child draws its own mutation strength, log-uniform between
two bounds, so that coarse and fine steps are always both on offer.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.types import Evolver, Fitness, Genomes, Key, MaskSpace


class GeneticState(NamedTuple):
    """The surviving population, best first.

    Attributes:
      genomes: leading axis `P`.
      fitness: `float32 [P]`, ascending.
    """

    genomes: Genomes
    fitness: Fitness


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Settings:
    population: int
    tournament: int
    cross_fraction: float
    strength: tuple[float, float]

    @property
    def num_crossed(self) -> int:
        """Children with two parents."""
        return round(self.cross_fraction * self.population)


def genetic(
    space: MaskSpace,
    *,
    population: int,
    tournament: int = 2,
    cross_fraction: float = 0.5,
    strength: tuple[float, float] | None = None,
) -> Evolver:
    """An elitist genetic algorithm: each generation as many children as there are survivors.

    Args:
      space: its operators make the children.
      population: survivors, and children per generation, `P`; generation 0 must be as large.
      tournament: candidates drawn per parent; the fittest of them is taken.
      cross_fraction: share of the children with two parents; the others have one.
      strength: bounds of the mutation strength, in 0..1, log-uniform per child; by default those
        that suit the space.

    Raises:
      ValueError: a setting is out of its range.
    """
    low, high = strength or space.strength
    faults = [
        message
        for wrong, message in (
            (population < 2, f"population must be at least 2, got {population}"),
            (tournament < 1, f"tournament must be at least 1, got {tournament}"),
            (not 0 <= cross_fraction <= 1, f"cross_fraction must be in 0..1, got {cross_fraction}"),
            (
                not 0 < low <= high <= 1,
                f"strength must rise within 0..1, got {(low, high)}",
            ),
        )
        if wrong
    ]
    if faults:
        raise ValueError("; ".join(faults) + ".")
    settings = _Settings(population, tournament, float(cross_fraction), (low, high))
    return Evolver(Partial(_init, settings), Partial(_ask, settings, space), Partial(_tell))


def _init(settings: _Settings, key: Key, genomes: Genomes, fitness: Fitness) -> GeneticState:
    if fitness.shape[0] < settings.population:
        raise ValueError(
            f"generation 0 has {fitness.shape[0]} members, the evolver needs the "
            f"{settings.population} it was built for."
        )
    return _fittest(genomes, fitness, settings.population)


def _ask(
    settings: _Settings, space: MaskSpace, key: Key, state: GeneticState
) -> tuple[Genomes, GeneticState]:
    first_key, second_key, cross_key, strength_key, mutate_key = jax.random.split(key, 5)
    num, num_crossed = settings.population, settings.num_crossed
    first = _parents(first_key, state, num, settings.tournament)
    second = _parents(second_key, state, num_crossed, settings.tournament)
    cross_keys = jax.random.split(cross_key, num_crossed)
    crossed = jax.vmap(space.cross)(cross_keys, _first(first, num_crossed), second)
    children = jax.tree.map(
        lambda new, old: jnp.concatenate([new, old[num_crossed:]]), crossed, first
    )
    low, high = jnp.log(jnp.array(settings.strength))
    strength = jnp.exp(jax.random.uniform(strength_key, (num,), minval=low, maxval=high))
    return jax.vmap(space.mutate)(jax.random.split(mutate_key, num), children, strength), state


def _tell(key: Key, genomes: Genomes, fitness: Fitness, state: GeneticState) -> GeneticState:
    everyone = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), state.genomes, genomes)
    return _fittest(everyone, jnp.concatenate([state.fitness, fitness]), state.fitness.shape[0])


def _fittest(genomes: Genomes, fitness: Fitness, survivors: int) -> GeneticState:
    """The best, in order; among equal ones the older come first."""
    order = jnp.argsort(fitness, stable=True)[:survivors]
    return GeneticState(jax.tree.map(lambda leaf: leaf[order], genomes), fitness[order])


def _parents(key: Key, state: GeneticState, num: int, tournament: int) -> Genomes:
    """One tournament winner per child; the population is sorted, so the lowest index wins."""
    shape = (num, tournament)
    winners = jnp.min(jax.random.randint(key, shape, 0, state.fitness.shape[0]), axis=1)
    return jax.tree.map(lambda leaf: leaf[winners], state.genomes)


def _first(genomes: Genomes, num: int) -> Genomes:
    return jax.tree.map(lambda leaf: leaf[:num], genomes)
