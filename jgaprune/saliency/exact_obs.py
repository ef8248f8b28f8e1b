"""Exact optimal brain surgeon: weights go one by one, and the others make up for each.

Every output's weights are removed to the last, each time the one that costs least, with the exact
update of the others and of the inverse Gram matrix. What a weight costs when its turn comes is
its score. Frantar and Alistarh, "Optimal brain compression", NeurIPS 2022.
"""

import jax
import jax.numpy as jnp

from jgaprune.model import Model
from jgaprune.ops import Product
from jgaprune.saliency.activations import (
    by_error,
    error_of_removal,
    gram_of,
    inverse_of,
    output_size,
)
from jgaprune.types import Array, Scores

MOST_INPUTS = 1200
"""Inputs per output; the time grows with their cube."""
_MOST_NUMBERS = 2**25
"""In the inverse matrices that are alive at once: 128 MiB."""
_STEP = 1e-6
"""Relative, between a weight's score and the next one's, where that costs no more."""


def exact_obs(model: Model, inputs: Array, sparsity: float, *, damping: float = 0.01) -> Scores:
    """The error that each weight adds when it is removed after all that are worth less.

    Layers of up to 1200 inputs per output are treated exactly; larger ones get the scores of
    `obs`, as if each weight were the first to go. What weights cost may fall on the way; a score
    is at least that of the weight removed before, so that every threshold gives a set that the
    order gives too. Errors are relative to the layer's output. Args and result as in `obs`.
    """
    return by_error(model, inputs, sparsity, _exact, damping)


def _exact(damping: Array, product: Product, inputs: Array, weights: Array) -> Array:
    matrix = product.matrix(weights).astype(jnp.float32)
    groups, columns, outputs = matrix.shape
    if columns > MOST_INPUTS:
        return error_of_removal(damping, product, inputs, weights)
    gram = gram_of(product, inputs)
    inverses = inverse_of(gram, damping)
    size = output_size(gram, matrix)
    rows = jnp.swapaxes(matrix, 1, 2).reshape(-1, columns)
    group = jnp.repeat(jnp.arange(groups), outputs)
    batch = max(1, min(len(rows), _MOST_NUMBERS // columns**2))
    errors = jax.lax.map(
        lambda one: removal_errors(one[0], inverses[one[1]]), (rows, group), batch_size=batch
    )
    return jnp.swapaxes(errors.reshape(groups, outputs, columns), 1, 2) / size


def removal_errors(weights: Array, inverse: Array) -> Array:
    """The error of each weight of one output when its turn comes, at least the one before's.

    Args:
      weights: `[K]`.
      inverse: of the damped Gram matrix, `[K, K]`.

    Returns:
      `float32 [K]`, above zero and all different.
    """
    tiny = jnp.finfo(jnp.float32).tiny

    def remove(state, _):
        weights, inverse, left, last = state
        diagonal = jnp.maximum(jnp.diagonal(inverse), tiny)
        errors = jnp.where(left, jnp.square(weights) / diagonal, jnp.inf)
        place = jnp.argmin(errors)
        column = inverse[place] / diagonal[place]
        left = left.at[place].set(False)
        weights = jnp.where(left, weights - weights[place] * column, 0.0)
        inverse = inverse - column[:, None] * inverse[place]
        inverse = jnp.where(left[:, None] & left, inverse, 0.0)
        last = jnp.maximum(errors[place], last * (1.0 + _STEP))
        return (weights, inverse, left, last), (place, last)

    start = (weights, inverse, jnp.ones(weights.shape, bool), tiny)
    _, (places, errors) = jax.lax.scan(remove, start, None, length=weights.shape[0])
    return jnp.zeros_like(weights).at[places].set(errors)
