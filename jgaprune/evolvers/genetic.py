"""The default evolver: an elitist genetic algorithm for any mask space.

Parents are chosen by tournament, crossed and mutated by the space's own operators, and the best
of parents and children survive. Each child draws its own mutation strength, log-uniform between
two bounds, so that coarse and fine steps are always both on offer; or it inherits that of its
parents, changed a little, so that strengths that pay survive with what they made (Schwefel, 1981;
Baeck and Schwefel, 1993). Children like a survivor or an earlier child are mutated once more.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.evolvers.duplicates import without_duplicates
from jgaprune.evolvers.strength import inherited, log_uniform, strength_fault
from jgaprune.ops import make_rows, replace_rows
from jgaprune.packed import fingerprint
from jgaprune.types import Array, Evolver, Fitness, Genome, Genomes, Key, MaskSpace


class Traits(NamedTuple):
    """What is known of genomes beside their fitness.

    Attributes:
      prints: `uint32 [P]`, their fingerprints.
      strength: `float32 [P]`, of the mutation that made them.
    """

    prints: Array
    strength: Array


class GeneticState(NamedTuple):
    """The surviving population, in no order: a survivor keeps its place.

    Attributes:
      genomes: leading axis `P`.
      fitness: `float32 [P]`.
      traits: of the survivors.
      asked: traits of the children that were asked for last.
      stale: `int32 []`, generations since the best fitness was last improved, or since a restart.
    """

    genomes: Genomes
    fitness: Fitness
    traits: Traits
    asked: Traits
    stale: Array


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Settings:
    population: int
    tournament: int
    cross_fraction: float
    strength: tuple[float, float]
    adaptive: bool
    patience: int | None

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
    adaptive: bool = False,
    patience: int | None = None,
) -> Evolver:
    """An elitist genetic algorithm: each generation as many children as there are survivors.

    Args:
      space: its operators make the children.
      population: survivors, and children per generation, `P`; generation 0 must be as large.
      tournament: candidates drawn per parent; the fittest of them is taken.
      cross_fraction: share of the children with two parents; the others have one.
      strength: bounds of the mutation strength, in 0..1; by default those that suit the space.
      adaptive: whether a child's strength is that of its parents, changed a little, instead of
        drawn log-uniform.
      patience: after so many generations without a better best, only the best survives, beside
        its mutants of the largest strength; None for never.

    Raises:
      ValueError: a setting is out of its range.
    """
    bounds = strength or space.strength
    faults = [
        message
        for wrong, message in (
            (population < 2, f"population must be at least 2, got {population}"),
            (tournament < 1, f"tournament must be at least 1, got {tournament}"),
            (not 0 <= cross_fraction <= 1, f"cross_fraction must be in 0..1, got {cross_fraction}"),
            (strength_fault(bounds) is not None, strength_fault(bounds)),
            (patience is not None and patience < 1, f"patience must be at least 1, got {patience}"),
        )
        if wrong
    ]
    if faults:
        raise ValueError("; ".join(map(str, faults)) + ".")
    settings = _Settings(population, tournament, float(cross_fraction), bounds, adaptive, patience)
    return Evolver(
        Partial(_init, settings), Partial(_ask, settings, space), Partial(_tell, settings)
    )


def _init(settings: _Settings, key: Key, genomes: Genomes, fitness: Fitness) -> GeneticState:
    num = settings.population
    if fitness.shape[0] < num:
        raise ValueError(
            f"generation 0 has {fitness.shape[0]} members, the evolver needs the {num} it was "
            "built for."
        )
    order = jnp.argsort(fitness, stable=True)[:num]
    genomes = jax.tree.map(lambda leaf: leaf[order], genomes)
    traits = Traits(make_rows(fingerprint, genomes), log_uniform(key, settings.strength, num))
    nobody = Traits(jnp.zeros(num, jnp.uint32), jnp.zeros(num))
    return GeneticState(genomes, fitness[order], traits, nobody, jnp.int32(0))


def _ask(
    settings: _Settings, space: MaskSpace, key: Key, state: GeneticState
) -> tuple[Genomes, GeneticState]:
    parent_key, cross_key, strength_key, mutate_key, again_key = jax.random.split(key, 5)
    num = settings.population
    first, second = _parents(parent_key, settings, state.fitness)
    crossed = jnp.arange(num) < settings.num_crossed
    if settings.adaptive:
        of_parents = state.traits.strength[jnp.stack([first, jnp.where(crossed, second, first)])]
        strength = inherited(strength_key, settings.strength, of_parents)
    else:
        strength = log_uniform(strength_key, settings.strength, num)
    if settings.patience is not None:
        restarts = _restarts(settings, state)
        best = jnp.argmin(state.fitness)
        first, second = jnp.where(restarts, best, first), jnp.where(restarts, best, second)
        strength = jnp.where(restarts, settings.strength[1], strength)

    def child(
        crossed: Array, first: Array, second: Array, keys: Key, strength: Array
    ) -> tuple[Genome, Array]:
        one, other = _row(state.genomes, first), _row(state.genomes, second)
        uncut = jax.lax.cond(crossed, lambda: space.cross(keys[0], one, other), lambda: one)
        mutant = space.mutate(keys[1], uncut, strength)
        return mutant, fingerprint(mutant)

    keys = jnp.stack([jax.random.split(one, num) for one in (cross_key, mutate_key)], axis=1)
    children, prints = make_rows(child, crossed, first, second, keys, strength)
    known = state.traits.prints
    children, prints = without_duplicates(space, again_key, children, prints, known, strength)
    return children, state._replace(asked=Traits(prints, strength))


def _tell(
    settings: _Settings, key: Key, genomes: Genomes, fitness: Fitness, state: GeneticState
) -> GeneticState:
    """The best of parents and children; among equal ones the parents."""
    num = state.fitness.shape[0]
    improved = jnp.min(fitness) < jnp.min(state.fitness)
    stale = jnp.where(improved | _restarts(settings, state), 0, state.stale + 1)
    order = jnp.argsort(jnp.concatenate([_standing(settings, state), fitness]), stable=True)
    survives = jnp.zeros(2 * num, bool).at[order[:num]].set(True)
    dead = jnp.argsort(survives[:num], stable=True)
    rank = jnp.cumsum(survives[num:]) - 1
    places = jnp.where(survives[num:], dead[rank], num)

    def replaced(old: Array, new: Array) -> Array:
        return old.at[places].set(new, mode="drop")

    return GeneticState(
        replace_rows(state.genomes, genomes, places),
        replaced(state.fitness, fitness),
        jax.tree.map(replaced, state.traits, state.asked),
        state.asked,
        stale,
    )


def _restarts(settings: _Settings, state: GeneticState) -> Array:
    """Whether the children that are asked for, or were, are to replace all but the best."""
    never = jnp.zeros((), bool)
    return never if settings.patience is None else state.stale >= settings.patience


def _standing(settings: _Settings, state: GeneticState) -> Fitness:
    """Fitness of the survivors, as it counts among the children's; in a restart, the best's."""
    best = jnp.arange(state.fitness.size) == jnp.argmin(state.fitness)
    return jnp.where(_restarts(settings, state) & ~best, jnp.inf, state.fitness)


def _parents(key: Key, settings: _Settings, fitness: Fitness) -> tuple[Array, Array]:
    """Indices of two tournament winners per child."""
    shape = (2, settings.population, settings.tournament)
    drawn = jax.random.randint(key, shape, 0, fitness.shape[0])
    best = jnp.argmin(fitness[drawn], axis=-1)
    first, second = jnp.take_along_axis(drawn, best[..., None], axis=-1)[..., 0]
    return first, second


def _row(genomes: Genomes, index: Array) -> Genome:
    return jax.tree.map(lambda leaf: leaf[index], genomes)
