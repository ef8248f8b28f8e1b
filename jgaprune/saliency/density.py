"""Magnitude within each layer, at densities fixed beforehand.

The score of the weight with rank `r` (1 = largest magnitude of its tensor) is
`density * size / r`: the global threshold 1 then keeps the `density * size` largest of every
tensor.

ERK (Erdos-Renyi-Kernel): Evci et al., "Rigging the lottery", ICML 2020.
"""

import jax.numpy as jnp

from jgaprune.masks import Layout
from jgaprune.types import Array, Params, Scores


def uniform_magnitude(params: Params, layout: Layout, sparsity: float) -> Scores:
    """The largest weights of every tensor, the same share everywhere.

    Args and result as in `magnitude`.
    """
    return _at_densities(params, layout, [1.0 - sparsity] * len(layout.names))


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
