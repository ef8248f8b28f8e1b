"""Evaluates a population: everything below this line is written for one candidate.

Candidates are decoded inside the mapped function, so only one chunk of mask sets exists at a
time.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jgaprune.engine.mesh import in_shares
from jgaprune.engine.screen import Screens, met, most_promising
from jgaprune.engine.strategy import Strategy, map_population
from jgaprune.types import Fitness, Genome, Genomes, Key, MaskSpace, Objective, Score


def race(
    space: MaskSpace,
    objective: Objective,
    screens: Screens,
    key: Key,
    genomes: Genomes,
    strategy: Strategy,
    mesh: Mesh | None = None,
) -> tuple[Fitness, Score]:
    """`evaluate` for the candidates that stand out at every look; the others get +inf.

    Args:
      space: what the genomes mean.
      objective: scores one candidate.
      screens: how candidates are looked at before; none to evaluate them all.
      key: shared by all candidates and looks.
      genomes: population with leading axis `P`.
      strategy: how the population is mapped over.
      mesh: as in `evaluate`.

    Returns:
      Fitness `float32 [P]`, and the raw `Score` of those evaluated in full.
    """
    population = jax.tree.leaves(genomes)[0].shape[0]
    finalists, left = genomes, None
    for screen, _ in met(screens, population):
        looks, _ = evaluate(space, screen.objective, key, finalists, strategy, mesh)
        chosen = most_promising(screen, looks)
        finalists = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], finalists)
        left = chosen if left is None else left[chosen]
    fitness, scores = evaluate(space, objective, key, finalists, strategy, mesh)
    if left is None:
        return fitness, scores
    return jnp.full(population, jnp.inf).at[left].set(fitness), scores


def evaluate(
    space: MaskSpace,
    objective: Objective,
    key: Key,
    genomes: Genomes,
    strategy: Strategy,
    mesh: Mesh | None = None,
) -> tuple[Fitness, Score]:
    """Scores every genome on the same random draw.

    Args:
      space: what the genomes mean.
      objective: scores one candidate.
      key: shared by all candidates, so that they are compared on equal terms.
      genomes: population with leading axis `P`.
      strategy: how the population is mapped over.
      mesh: whose devices take a share of the population each; inside of `on_mesh` only.

    Returns:
      Fitness `float32 [P]` in which NaN has become +inf, and the raw `Score` of each, `[P]`.
    """

    def score(genome: Genome) -> Score:
        return objective(key, space.decode(genome))

    def scores_of(share: Genomes) -> Score:
        return map_population(strategy, score, share)

    scores = in_shares(mesh, scores_of, genomes)
    fitness = scores.fitness.astype(jnp.float32)
    return jnp.where(jnp.isnan(fitness), jnp.inf, fitness), scores
