"""What the host hears of a generation: the best so far, and scalars."""

import jax
import jax.numpy as jnp

from jgaprune.engine.state import Best, Record, SearchState
from jgaprune.types import Array, Fitness, Genomes

_GENES_COMPARED = 4096
"""Genes, or words of them, from which the diversity of a population is told."""


def no_records(count: int) -> Record:
    """Room for the records of `count` generations."""
    zeros = jnp.zeros(count)
    return Record(zeros, zeros, zeros, jnp.zeros(count, jnp.int32))


def better(best: Best, genomes: Genomes, fitness: Fitness) -> Best:
    """The better of the best ever and the best of a population; the older one on a tie."""
    index = jnp.argmin(fitness)
    improved = fitness[index] < best.fitness
    genome = jax.tree.map(
        lambda old, leaf: jnp.where(improved, leaf[index], old), best.genome, genomes
    )
    return Best(genome, jnp.where(improved, fitness[index], best.fitness))


def record_of(state: SearchState, genomes: Genomes, fitness: Fitness) -> Record:
    """The record of a generation, from the state after it and the population that was evaluated."""
    finite = jnp.isfinite(fitness)
    mean = jnp.sum(jnp.where(finite, fitness, 0.0)) / jnp.maximum(jnp.sum(finite), 1)
    mean = jnp.where(jnp.any(finite), mean, jnp.inf)
    return Record(state.best.fitness, mean, _diversity(genomes), state.evaluations)


def _diversity(genomes: Array) -> Array:
    """How much neighbours differ, in genes that are spread over the genome."""
    some = genomes[:, :: max(1, genomes.shape[1] // _GENES_COMPARED)]
    neighbours = jnp.roll(some, 1, axis=0)
    if genomes.dtype == jnp.uint32:
        differing = jax.lax.population_count(some ^ neighbours)
        return jnp.mean(differing.astype(jnp.float32)) / 32.0
    return jnp.mean(jnp.abs(some - neighbours))
