"""Magnitude scores that are compared across layers.

LAMP: Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021.
"""

import jax.numpy as jnp

from jgaprune.masks import Layout
from jgaprune.types import Array, Params, Scores


def magnitude(params: Params, layout: Layout, sparsity: float) -> Scores:
    """Absolute value, one threshold for the whole network.

    Args:
      params: by leaf name; those of the layout are scored.
      layout: the prunable leaves.
      sparsity: fraction to remove; scores of some methods depend on it.

    Returns:
      `float32`, one score per weight, by leaf name in the leaf's shape.

    >>> magnitude({"w": jnp.array([-2.0, 1.0])}, Layout(("w",), ((2,),)), 0.5)["w"].tolist()
    [2.0, 1.0]
    """
    return {name: jnp.abs(params[name]) for name in layout.names}


def lamp(params: Params, layout: Layout, sparsity: float) -> Scores:
    """Square over the sum of squares of all weights of the tensor that are at least as large.

    The largest weight of every tensor scores 1, so no tensor dies. Args and result as in
    `magnitude`.

    >>> lamp({"w": jnp.array([1.0, 2.0])}, Layout(("w",), ((2,),)), 0.5)["w"].tolist()
    [0.20000000298023224, 1.0]
    """
    return {name: _lamp(params[name]) for name in layout.names}


def _lamp(weight: Array) -> Array:
    squares = jnp.square(weight.reshape(-1).astype(jnp.float32))
    order = jnp.argsort(-squares)
    sorted_squares = squares[order]
    at_least_as_large = jnp.cumsum(sorted_squares)
    ratio = sorted_squares / jnp.maximum(at_least_as_large, jnp.finfo(jnp.float32).tiny)
    return jnp.zeros_like(ratio).at[order].set(ratio).reshape(weight.shape)
