"""Scores that look at what enters each layer: Wanda and optimal brain surgeon.

Inputs of the network are needed, labels are not. Wanda: Sun et al., "A simple and effective
pruning approach for large language models", ICLR 2024. OBS: Hassibi and Stork, NeurIPS 1992, in
the layer-by-layer form of Frantar et al., "Optimal brain compression", NeurIPS 2022.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jgaprune.model import Model
from jgaprune.ops import Product, see_products
from jgaprune.saliency.density import ranks
from jgaprune.types import Array, Scores

_Score = Callable[[Product, Array, Array], Array]
"""`product, its inputs, its weights -> scores [groups, K, O]`."""


def wanda(model: Model, inputs: Array, sparsity: float) -> Scores:
    """Magnitude times the norm of the input, the same share of every output's weights.

    Args:
      model: the dense network.
      inputs: model inputs `[N, ...]`, unlabelled.
      sparsity: fraction to remove, in (0, 1).

    Returns:
      `float32`, one score per weight, by leaf name in the leaf's shape. Weights whose inputs
      can't be seen are scored as if all inputs were alike.
    """
    return _scores(model, inputs, partial(_wanda, 1.0 - sparsity))


def obs(model: Model, inputs: Array, sparsity: float, *, damping: float = 0.01) -> Scores:
    """Error that removing a weight makes when its row makes up for it: `w^2 / [H^-1]_ii`.

    `H` is the Gram matrix of the layer's inputs plus `damping` times its mean diagonal. Errors
    are relative to the layer's output, so that one threshold serves all layers. Args and result
    as in `wanda`.
    """
    return _scores(model, inputs, partial(_obs, damping))


def _scores(model: Model, inputs: Array, score: _Score) -> Scores:
    seen = jax.jit(_see, static_argnums=2)(model, inputs, score)
    return {
        name: seen.get(name, jnp.abs(model.params[name]).astype(jnp.float32))
        for name in model.spec.prunable
    }


def _see(model: Model, inputs: Array, score: _Score) -> Scores:
    def look(product: Product, inputs: Array, weights: Array) -> Array:
        return product.unmatrix(score(product, inputs, weights))

    return see_products(model.apply, look, model.params, model.buffers, inputs)


def _wanda(density: float, product: Product, inputs: Array, weights: Array) -> Array:
    rows = product.rows(inputs)
    norms = jnp.sqrt(jnp.mean(jnp.square(rows), axis=1))[..., None]
    scores = jnp.abs(product.matrix(weights)) * norms
    rank = jax.vmap(jax.vmap(ranks, in_axes=1, out_axes=1))(scores)
    return density * scores.shape[1] / rank


def _obs(damping: float, product: Product, inputs: Array, weights: Array) -> Array:
    rows, matrix = product.rows(inputs), product.matrix(weights)
    gram = jnp.matmul(jnp.swapaxes(rows, 1, 2), rows) / rows.shape[1]
    diagonal = jnp.diagonal(gram, axis1=1, axis2=2)
    size = damping * jnp.mean(diagonal, axis=1)[:, None, None] + jnp.finfo(jnp.float32).tiny
    inverse = jnp.linalg.inv(gram + size * jnp.eye(gram.shape[1]))
    output = jnp.sum(matrix * jnp.matmul(gram, matrix))
    error = jnp.square(matrix) / jnp.diagonal(inverse, axis1=1, axis2=2)[..., None]
    return error / jnp.maximum(output, jnp.finfo(jnp.float32).tiny)
