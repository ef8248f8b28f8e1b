"""Magnitude within each layer or each of its rows, at densities fixed beforehand.

The score of the weight with rank `r` (1 = first of its tensor to be kept) is `density * size / r`:
the global threshold 1 then keeps `density * size` of every tensor.

ERK (Erdos-Renyi-Kernel): Evci et al., "Rigging the lottery", ICML 2020.
"""

import jax
import jax.numpy as jnp

from jgaprune.masks import Layout
from jgaprune.types import Array, Params, Scores


def uniform_magnitude(params: Params, layout: Layout, sparsity: float) -> Scores:
    """The largest weights of every tensor, the same share everywhere.

    Args and result as in `magnitude`.
    """
    return _at_densities(params, layout, [1.0 - sparsity] * len(layout.names))


def row_magnitude(params: Params, layout: Layout, sparsity: float) -> Scores:
    """The largest weights of every row or filter, the same share everywhere.

    A row is what one index of the last axis, the outputs', sees. All rows of a tensor keep the same
    number of weights, give or take one: where the share leaves a rest, it goes to the rows whose
    next weight is largest. It is Wanda where all inputs are alike: Sun et al., ICLR 2024, compare
    weights so. Args and result as in `magnitude`.

    >>> scores = row_magnitude({"w": jnp.array([[9.0, 2], [8, 1]])}, Layout(("w",), ((2, 2),)), 0.5)
    >>> (scores["w"] >= 1).tolist()
    [[True, True], [False, False]]
    """
    return {
        name: (1.0 - sparsity) * params[name].size / _row_ranks(jnp.abs(params[name]))
        for name in layout.names
    }


def erk(params: Params, layout: Layout, sparsity: float) -> Scores:
    """The largest weights of every tensor, at Erdos-Renyi-Kernel densities.

    Args and result as in `magnitude`.
    """
    return _at_densities(params, layout, erk_densities(layout, sparsity))


def erk_densities(layout: Layout, sparsity: float) -> list[float]:
    """Share of weights kept per leaf: proportional to sum over product of its dimensions.

    Densities above 1 are capped and the rest rescaled to the budget.

    >>> [round(d, 3) for d in erk_densities(Layout(("a", "b"), ((2, 2), (20, 20))), 0.5)]
    [1.0, 0.495]
    """
    budget = (1.0 - sparsity) * layout.num_weights
    raw = [sum(shape) / size for shape, size in zip(layout.shapes, layout.sizes, strict=True)]
    dense: set[int] = set()
    while True:
        rest = [index for index in range(len(raw)) if index not in dense]
        left = budget - sum(layout.sizes[index] for index in dense)
        scale = left / sum(raw[index] * layout.sizes[index] for index in rest)
        over = {index for index in rest if raw[index] * scale > 1.0}
        if not over:
            return [1.0 if index in dense else raw[index] * scale for index in range(len(raw))]
        dense |= over


def _at_densities(params: Params, layout: Layout, densities: list[float]) -> Scores:
    return {
        name: density * params[name].size / ranks(jnp.abs(params[name]))
        for name, density in zip(layout.names, densities, strict=True)
    }


def ranks(scores: Array) -> Array:
    """Rank of every score within its tensor, 1 for the largest; equal ones in order."""
    order = jnp.argsort(-scores.reshape(-1), stable=True)
    ranks = jnp.zeros(order.shape, jnp.float32).at[order].set(jnp.arange(1.0, order.size + 1))
    return ranks.reshape(scores.shape)


def _row_ranks(scores: Array) -> Array:
    """Ranks within a tensor that go by the rank within the row first, then by the score."""
    if scores.ndim < 2:
        return ranks(scores)
    rows = scores.reshape(-1, scores.shape[-1])
    within = jax.vmap(ranks, in_axes=1, out_axes=1)(rows)
    among_equals = jax.vmap(ranks)(jnp.sort(rows, axis=0, descending=True))
    place = jnp.take_along_axis(among_equals, within.astype(jnp.int32) - 1, axis=0)
    return ((within - 1) * rows.shape[1] + place).reshape(scores.shape)
