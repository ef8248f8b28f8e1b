"""Evaluates a population: everything below this line is written for one candidate.

Candidates are decoded inside the mapped function, so only one chunk of mask sets exists at a
time. A chunk is one vmapped forward pass; chunks follow one another on the device.
"""

import jax
import jax.numpy as jnp

from jgaprune.types import Fitness, Genome, Genomes, Key, MaskSpace, Objective, Score


def evaluate(
    space: MaskSpace, objective: Objective, key: Key, genomes: Genomes, chunk: int
) -> tuple[Fitness, Score]:
    """Scores every genome on the same random draw.

    Args:
      space: what the genomes mean.
      objective: scores one candidate.
      key: shared by all candidates, so that they are compared on equal terms.
      genomes: population with leading axis `P`.
      chunk: candidates per vmapped forward pass; memory grows with it.

    Returns:
      Fitness `float32 [P]` in which NaN has become +inf, and the raw `Score` of each, `[P]`.
    """

    def score(genome: Genome) -> Score:
        return objective(key, space.decode(genome))

    batch_size = None if chunk == 1 else chunk
    scores = jax.lax.map(score, genomes, batch_size=batch_size)
    fitness = scores.fitness.astype(jnp.float32)
    return jnp.where(jnp.isnan(fitness), jnp.inf, fitness), scores
