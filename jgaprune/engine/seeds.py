"""Seeds of a search: genomes from the caller, checked once on the host."""

from typing import Any

import jax

from jgaprune.masks import count_kept
from jgaprune.types import Array, Genome, Genomes, MaskSpace


def check_seeds(space: MaskSpace, seeds: Genomes, population: int) -> None:
    """Refuses seeds that are no genomes of the space, or of another budget, or too many.

    Args:
      space: a pytree, so that its functions may enter compiled programs.
      seeds: genomes with a leading axis.
      population: size of generation 0.

    Raises:
      ValueError: says what came and what was expected.
    """

    def kind(leaf: Any, axes: int) -> tuple[tuple[int, ...], str]:
        return leaf.shape[axes:], str(leaf.dtype)

    genome = jax.eval_shape(space.sample, jax.random.key(0))
    expected = jax.tree.map(lambda leaf: kind(leaf, 0), genome)
    found = jax.tree.map(lambda leaf: kind(leaf, 1), seeds)
    if found != expected:
        raise ValueError(
            f"seeds must be genomes with a leading axis, each {expected}; got {found} behind the "
            "first axis. Stack genomes of this space: jnp.stack([space.encode(masks), ...])."
        )
    num_seeds = jax.tree.leaves(seeds)[0].shape[0]
    if num_seeds > population:
        raise ValueError(
            f"{num_seeds} seeds do not fit into a population of {population}; "
            "raise the population or pass fewer seeds."
        )
    budget, kept = jax.device_get(_budgets(space, seeds))
    if (kept != budget).any():
        raise ValueError(
            f"seeds keep {', '.join(map(str, kept))} weights, this space keeps {budget}. Encode "
            "masks of the same sparsity."
        )


@jax.jit
def _budgets(space: MaskSpace, seeds: Genomes) -> tuple[Array, Array]:
    """Weights that a genome of the space keeps, and those that each seed keeps."""

    def kept(genome: Genome) -> Array:
        return count_kept(space.decode(genome))

    return kept(space.sample(jax.random.key(0))), jax.lax.map(kept, seeds)
