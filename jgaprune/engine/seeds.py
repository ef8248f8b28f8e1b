"""Seeds of a search: genomes from the caller, checked once on the host."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.masks import count_kept
from jgaprune.types import Array, Genome, Genomes, MaskSpace


class Seeds(NamedTuple):
    """Genomes for the first places of a generation 0.

    Attributes:
      genomes: leading axis `S`.
      given: `bool [S]`, False where there is none after all.
    """

    genomes: Genomes
    given: Array


def all_given(genomes: Genomes) -> Seeds:
    """Genomes that are all seeds."""
    return Seeds(genomes, jnp.ones(jax.tree.leaves(genomes)[0].shape[0], bool))


def dealt(genomes: Genomes, hands: int) -> Seeds:
    """Seeds dealt around like cards, leading axis `hands`: seed `i` is the next of `i % hands`.

    >>> dealt(jnp.arange(3), 2).genomes.tolist(), dealt(jnp.arange(3), 2).given.tolist()
    ([[0, 2], [1, 2]], [[True, True], [True, False]])
    """
    count = jax.tree.leaves(genomes)[0].shape[0]
    order = jnp.arange(-(-count // hands) * hands).reshape(-1, hands).T
    chosen = jnp.minimum(order, count - 1)
    return Seeds(jax.tree.map(lambda leaf: leaf[chosen], genomes), order < count)


def planted(genomes: Genomes, seeds: Seeds) -> Genomes:
    """A population `[P, ...]` with seeds in its first places."""
    count = seeds.given.shape[0]

    def leaf_with(all_: Array, first: Array) -> Array:
        given = seeds.given.reshape(count, *[1] * (first.ndim - 1))
        return all_.at[:count].set(jnp.where(given, first, all_[:count]))

    return jax.tree.map(leaf_with, genomes, seeds.genomes)


def check_seeds(space: MaskSpace, seeds: Genomes, population: int) -> None:
    """Refuses seeds that are no genomes of the space, or of another budget, or too many.

    Args:
      space: a pytree, so that its functions may enter compiled programs.
      seeds: genomes with a leading axis.
      population: places in generation 0, of all islands together.

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
