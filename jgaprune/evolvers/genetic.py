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

from jgaprune.ops import make_rows, replace_rows
from jgaprune.types import Array, Evolver, Fitness, Genome, Genomes, Key, MaskSpace


class GeneticState(NamedTuple):
    """The surviving population, in no order: a survivor keeps its place.

    Attributes:
      genomes: leading axis `P`.
      fitness: `float32 [P]`.
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
    order = jnp.argsort(fitness, stable=True)[: settings.population]
    return GeneticState(jax.tree.map(lambda leaf: leaf[order], genomes), fitness[order])


def _ask(
    settings: _Settings, space: MaskSpace, key: Key, state: GeneticState
) -> tuple[Genomes, GeneticState]:
    parent_key, cross_key, strength_key, mutate_key = jax.random.split(key, 4)
    num = settings.population
    first, second = _parents(parent_key, settings, state.fitness)
    low, high = jnp.log(jnp.array(settings.strength))
    strength = jnp.exp(jax.random.uniform(strength_key, (num,), minval=low, maxval=high))

    def child(index: Array, first: Array, second: Array, keys: Key, strength: Array) -> Genome:
        one, other = _row(state.genomes, first), _row(state.genomes, second)
        crossed = jax.lax.cond(
            index < settings.num_crossed, lambda: space.cross(keys[0], one, other), lambda: one
        )
        return space.mutate(keys[1], crossed, strength)

    keys = jnp.stack([jax.random.split(one, num) for one in (cross_key, mutate_key)], axis=1)
    return make_rows(child, jnp.arange(num), first, second, keys, strength), state


def _tell(key: Key, genomes: Genomes, fitness: Fitness, state: GeneticState) -> GeneticState:
    """The best of parents and children; among equal ones the parents."""
    num = state.fitness.shape[0]
    order = jnp.argsort(jnp.concatenate([state.fitness, fitness]), stable=True)
    survives = jnp.zeros(2 * num, bool).at[order[:num]].set(True)
    dead = jnp.argsort(survives[:num], stable=True)
    rank = jnp.cumsum(survives[num:]) - 1
    places = jnp.where(survives[num:], dead[rank], num)
    return GeneticState(
        replace_rows(state.genomes, genomes, places),
        state.fitness.at[places].set(fitness, mode="drop"),
    )


def _parents(key: Key, settings: _Settings, fitness: Fitness) -> tuple[Array, Array]:
    """Indices of two tournament winners per child."""
    shape = (2, settings.population, settings.tournament)
    drawn = jax.random.randint(key, shape, 0, fitness.shape[0])
    best = jnp.argmin(fitness[drawn], axis=-1)
    first, second = jnp.take_along_axis(drawn, best[..., None], axis=-1)[..., 0]
    return first, second


def _row(genomes: Genomes, index: Array) -> Genome:
    return jax.tree.map(lambda leaf: leaf[index], genomes)
