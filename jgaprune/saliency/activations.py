"""Scores that look at what enters each layer: Wanda and optimal brain surgeon.

Inputs of the network are needed, labels are not. Wanda: Sun et al., "A simple and effective
pruning approach for large language models", ICLR 2024. OBS: Hassibi and Stork, NeurIPS 1992, in
the layer-by-layer form of Frantar et al., "Optimal brain compression", NeurIPS 2022.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jgaprune.masks import kept_for
from jgaprune.model import Model
from jgaprune.ops import Product, enough_rows, exact_matmul, see_products
from jgaprune.saliency.density import ranks, uniform_magnitude
from jgaprune.types import Array, Scores

LayerScore = Callable[[Array, Product, Array, Array], Array]
"""`setting, product, its inputs, its weights -> scores [groups, K, O]`."""


def wanda(model: Model, inputs: Array, sparsity: float) -> Scores:
    """Magnitude times the norm of the input, the same share of every output's weights.

    An output of a depthwise convolution has its taps only: every channel keeps the same share.

    Args:
      model: the dense network.
      inputs: model inputs `[N, ...]`, unlabelled.
      sparsity: fraction to remove, in (0, 1).

    Returns:
      `float32`, one score per weight, by leaf name in the leaf's shape. Weights whose inputs
      can't be seen are scored as if all inputs were alike.

    Raises:
      ValueError: sparsity is not in (0, 1).
    """
    kept_for(sparsity, model.layout.num_weights)  # for its errors
    seen = _see(model, inputs, _wanda, 1.0 - sparsity)
    unseen = uniform_magnitude(model.params, model.layout, sparsity)
    return {name: seen.get(name, unseen[name]) for name in model.layout.names}


def obs(model: Model, inputs: Array, sparsity: float, *, damping: float = 0.01) -> Scores:
    """Error that removing a weight makes when its row makes up for it: `w^2 / [H^-1]_ii`.

    `H` is the Gram matrix of the layer's inputs plus `damping` times its mean diagonal. Errors
    are relative to the layer's output, so that one threshold serves all layers. Args and result
    as in `wanda`.
    """
    return by_error(model, inputs, sparsity, error_of_removal, damping)


def by_error(
    model: Model, inputs: Array, sparsity: float, score: LayerScore, damping: float
) -> Scores:
    """Scores that are errors relative to a layer's output, also where no inputs are seen."""
    kept_for(sparsity, model.layout.num_weights)  # for its errors
    seen = _see(model, inputs, score, damping)
    return {
        name: seen.get(name, _alone(model.params[name].astype(jnp.float32)))
        for name in model.layout.names
    }


def _alone(weights: Array) -> Array:
    """What `error_of_removal` says where all inputs are alike and independent."""
    squares = jnp.square(weights)
    return squares / jnp.maximum(jnp.sum(squares), jnp.finfo(jnp.float32).tiny)


@partial(jax.jit, static_argnums=2)
def _see(model: Model, inputs: Array, score: LayerScore, setting: Array) -> Scores:
    def look(product: Product, inputs: Array, weights: Array) -> Array:
        return product.unmatrix(score(setting, product, inputs, weights))

    return see_products(model.apply, look, model.params, model.buffers, inputs)


def _wanda(density: Array, product: Product, inputs: Array, weights: Array) -> Array:
    rows = enough_rows(product, inputs)
    norms = jnp.sqrt(jnp.mean(jnp.square(rows), axis=1))[..., None]
    scores = jnp.abs(product.matrix(weights)) * norms
    rank = jax.vmap(jax.vmap(ranks, in_axes=1, out_axes=1))(scores)
    return density * scores.shape[1] / rank


def error_of_removal(damping: Array, product: Product, inputs: Array, weights: Array) -> Array:
    """What removing each weight alone costs, `[groups, K, O]`: a `LayerScore`."""
    gram, matrix = gram_of(product, inputs), product.matrix(weights).astype(jnp.float32)
    diagonal = jnp.diagonal(inverse_of(gram, damping), axis1=1, axis2=2)
    return jnp.square(matrix) / diagonal[..., None] / output_size(gram, matrix)


def gram_of(product: Product, inputs: Array) -> Array:
    """`X'X / M [groups, K, K]` of what enters a product."""
    rows = enough_rows(product, inputs)
    return exact_matmul(jnp.swapaxes(rows, 1, 2), rows) / rows.shape[1]


def inverse_of(gram: Array, damping: Array) -> Array:
    """Inverse of Gram matrices `[groups, K, K]`, damped relative to their mean diagonal."""
    diagonal = jnp.diagonal(gram, axis1=1, axis2=2)
    size = damping * jnp.mean(diagonal, axis=1)[:, None, None] + jnp.finfo(jnp.float32).tiny
    return jnp.linalg.inv(gram + size * jnp.eye(gram.shape[1]))


def output_size(gram: Array, matrix: Array) -> Array:
    """Sum of the mean squares of a layer's outputs, `[]`; above zero."""
    error = jnp.sum(matrix * exact_matmul(gram, matrix))
    return jnp.maximum(error, jnp.finfo(jnp.float32).tiny)
