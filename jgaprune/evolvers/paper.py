"""The evolver of the paper: strategies 1 to 5 with the published schedules.

Quality is maximised as in the paper and made from the fitness. Parents are drawn with
replacement, in proportion to their quality or its square; the strategies 3 to 5 also keep the
best part of the population unchanged. The size of the population and the mutation rate follow
the mean quality of the generation, so shapes change and the host asks `restage` for the next
generation's evolver before every `ask`.

Method: sun-asterisk-research/ga_pruning_research. Where its sources disagree on strategy 4
(20 or 50 % kept), the name and the log's 50 % hold. Departure: a generation always has at least
one pair of children, also when a falling mean asks for a smaller population than is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jgaprune.evolvers.schedule import Schedule, schedule_named
from jgaprune.types import Array, Evolver, Fitness, Genome, Genomes, Key, MaskSpace


class PaperState(NamedTuple):
    """The evaluated population.

    Attributes:
      genomes: `P` genomes.
      fitness: `float32 [P]`.
    """

    genomes: Genomes
    fitness: Fitness


_POWER_AND_RETAINED = {1: (1, 0.0), 2: (2, 0.0), 3: (1, 0.2), 4: (1, 0.5), 5: (2, 0.5)}


@jax.tree_util.register_static
@dataclass(frozen=True)
class PaperConfig:
    """The settings that hold for one generation. Static: hashes by value.

    Attributes:
      power: parents are drawn in proportion to quality to this power.
      retained: fraction of the population kept unchanged.
      quality: `fitness [P] -> quality [P]`, larger is better.
      schedule: all stages.
      population: size to reach.
      rate: mutation rate per gene.
    """

    power: int
    retained: float
    quality: Callable[[Fitness], Array]
    schedule: Schedule
    population: int
    rate: float


def paper(
    space: MaskSpace,
    *,
    strategy: int = 1,
    schedule: str | Schedule = "mnist",
    quality: Callable[[Fitness], Array] | None = None,
) -> Evolver:
    """The paper's genetic algorithm.

    Args:
      space: `scores` to be faithful; any space works.
      strategy: 1 plain; 2 selection by quality squared; 3 and 4 keep the best 20 and 50 %;
        5 is 2 and 4 together.
      schedule: "mnist", "cifar10", or your own; generation 0 has `initial_population(schedule)`
        members.
      quality: `fitness [P] -> quality [P]`, not negative, a module-level function; `complement`
        by default, which fits fitness in 0..1, and `reciprocal` for the rest.

    Returns:
      an evolver with `restage`, to be called on the host before every `ask`.

    Raises:
      ValueError: unknown strategy or schedule, or a schedule that cannot be followed.
    """
    if strategy not in _POWER_AND_RETAINED:
        raise ValueError(f"strategy must be one of 1, 2, 3, 4, 5, got {strategy!r}.")
    schedule = schedule_named(schedule)
    power, retained = _POWER_AND_RETAINED[strategy]
    _, population, rate = schedule.stages[0]
    config = PaperConfig(power, retained, quality or complement, schedule, population, rate)
    return _evolver(space, config)


def complement(fitness: Fitness) -> Array:
    """Quality of a fitness in 0..1: accuracy where the fitness is the error rate."""
    return 1.0 - fitness


def reciprocal(fitness: Fitness) -> Array:
    """Quality of a fitness from 0 up without a bound, such as a divergence."""
    return 1.0 / (1.0 + jnp.maximum(fitness, 0.0))


def selection_weights(quality: Array, power: int) -> Array:
    """Weights of the draw, `float32 [P]`; useless members get 0, and if all are, all get 1."""
    useful = jnp.isfinite(quality) & (quality > 0)
    weights = jnp.where(useful, quality, 0.0) ** power
    return jnp.where(jnp.any(weights > 0), weights, 1.0)


def select(weights: Array, draws: Array) -> Array:
    """Indices drawn in proportion to `weights [P]`, with replacement.

    Args:
      weights: `float32 [P]`, not negative, not all 0.
      draws: uniform in [0, 1), any shape.

    Returns:
      `int32` indices, shaped like `draws`.

    >>> select(jnp.array([1.0, 0.0, 3.0]), jnp.array([0.2, 0.3])).tolist()
    [0, 2]
    """
    edges = jnp.cumsum(weights)
    indices = jnp.searchsorted(edges, draws * edges[-1], side="right")
    return jnp.minimum(indices, weights.shape[0] - 1).astype(jnp.int32)


def num_retained(retained: float, population: int) -> int:
    """How many of the current population stay unchanged."""
    return int(retained * population)


def num_pairs(config: PaperConfig, population: int) -> int:
    """Pairs of children that bring a population of this size to the stage's size or one over."""
    missing = config.population - num_retained(config.retained, population)
    return max(1, -(-missing // 2))


def _evolver(space: MaskSpace, config: PaperConfig) -> Evolver:
    return Evolver(
        init=Partial(_init),
        ask=Partial(_ask, config, space),
        tell=Partial(_tell, config),
        restage=Partial(_restage, config, space),
    )


def _init(key: Key, genomes: Genomes, fitness: Fitness) -> PaperState:
    return PaperState(genomes, fitness)


def _ask(
    config: PaperConfig, space: MaskSpace, key: Key, state: PaperState
) -> tuple[Genomes, PaperState]:
    pairs = num_pairs(config, state.fitness.shape[0])
    select_key, pairs_key = jax.random.split(key)
    weights = selection_weights(config.quality(state.fitness), config.power)
    parents = select(weights, jax.random.uniform(select_key, (pairs, 2)))
    # One pair after another: the random numbers of a whole population would not fit.
    children = jax.lax.map(
        lambda pair: _children(config.rate, space, state.genomes, *pair),
        (jax.random.split(pairs_key, pairs), parents),
    )
    return jax.tree.map(lambda leaf: leaf.reshape(2 * pairs, *leaf.shape[2:]), children), state


def _children(rate: float, space: MaskSpace, genomes: Genomes, key: Key, parents: Array) -> Genome:
    """Both children of one cut, mutated, stacked."""
    cross_key, *mutate_keys = jax.random.split(key, 3)
    first, second = (jax.tree.map(lambda leaf, i=i: leaf[parents[i]], genomes) for i in (0, 1))
    # The same key draws the same cut, so that the exchanged parents give the other child.
    uncut = (space.cross(cross_key, first, second), space.cross(cross_key, second, first))
    strength = jnp.float32(rate)
    mutated = [space.mutate(mutate_keys[i], child, strength) for i, child in enumerate(uncut)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *mutated)


def _tell(
    config: PaperConfig, key: Key, genomes: Genomes, fitness: Fitness, state: PaperState
) -> PaperState:
    best = jnp.argsort(state.fitness)[: num_retained(config.retained, state.fitness.shape[0])]
    kept = PaperState(jax.tree.map(lambda leaf: leaf[best], state.genomes), state.fitness[best])
    children = PaperState(genomes, fitness)
    return jax.tree.map(lambda old, new: jnp.concatenate([old, new]), kept, children)


def _restage(config: PaperConfig, space: MaskSpace, state: PaperState) -> Evolver:
    quality = np.asarray(config.quality(state.fitness), np.float64)
    useful = np.isfinite(quality) & (quality > 0)
    population, rate = config.schedule.stage(float(np.mean(np.where(useful, quality, 0.0))))
    return _evolver(space, replace(config, population=population, rate=rate))
