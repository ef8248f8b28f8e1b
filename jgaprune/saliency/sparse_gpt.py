"""SparseGPT: masks and refitted weights in one pass, the same sparsity in every layer.

Layer by layer, each on what the already pruned layers give it: the columns of the layer's inputs
are gone through in blocks; in every block the weights go whose removal costs least, and the
columns behind make up for the error. Frantar and Alistarh, "SparseGPT: massive language models
can be accurately pruned in one-shot", ICML 2023.

A rival of a search rather than a base of one: its weights belong to its masks, so it gives both.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.masks import Layout, apply_masks, keep_top, kept_for
from jgaprune.model import Model, real_tokens, without_padding
from jgaprune.ops import Both, Product, Rules, exact_matmul, in_lockstep
from jgaprune.saliency.activations import gram_of
from jgaprune.saliency.one_shot import minimum_per_layer
from jgaprune.types import Array, Masks, Params


def sparse_gpt(
    model: Model, inputs: Array, sparsity: float, *, block: int = 128, damping: float = 0.01
) -> tuple[Masks, Params]:
    """Removes the same share of every layer and lets what is left of it make up for that.

    Biases and statistics stay as they are; `repair.batch_norm_delta(model, inputs).fit(params,
    model.buffers)` corrects the latter. Weights that no product with its inputs uses as they are
    (see `repair.reconstruct`) are pruned by magnitude.

    Args:
      model: the dense network.
      inputs: model inputs `[N, ...]`, unlabelled.
      sparsity: fraction to remove, in (0, 1); of every layer, rounded so that the whole network
        meets it to the weight.
      block: columns whose masks are chosen together.
      damping: added to the diagonal of a layer's Gram matrix, relative to its mean.

    Returns:
      The masks, and all parameters: the pruned ones refitted, zero where the masks say so.

    Raises:
      ValueError: sparsity out of range or too high for the number of layers, or no block.
    """
    if block < 1 or damping <= 0:
        raise ValueError(
            f"block must be at least 1 and damping above 0, got {block} and {damping:g}."
        )
    return _sparse_gpt(model, inputs, kept_by_layer(model.layout, sparsity), block, damping)


def kept_by_layer(layout: Layout, sparsity: float) -> tuple[int, ...]:
    """Weights that every layer keeps at the same sparsity everywhere: together the budget.

    The smallest layers are rounded first, so that those which keep at least one weight beyond
    their share are made up for by larger ones.

    >>> kept_by_layer(Layout(("a", "b"), ((1, 3), (5, 5))), 0.75)
    (1, 6)
    """
    num_kept = kept_for(sparsity, layout.num_weights)
    minimum_per_layer(layout, num_kept)  # for its errors
    kept: dict[int, int] = {}
    size = 0
    for index in np.argsort(layout.sizes, kind="stable").tolist():
        size += layout.sizes[index]
        wanted = round(num_kept * size / layout.num_weights) - sum(kept.values())
        kept[index] = max(1, wanted)
    return tuple(kept[index] for index in range(len(layout.sizes)))


@partial(jax.jit, static_argnums=(2, 3))
def _sparse_gpt(
    model: Model, inputs: Array, kept: tuple[int, ...], block: int, damping: float
) -> tuple[Masks, Params]:
    num_kept = dict(zip(model.layout.names, kept, strict=True))
    real = real_tokens(model.spec, inputs)

    def prune(name: str, product: Product, inputs: Both, weights: Both) -> Array:
        if name not in num_kept:
            return weights.pruned
        gram = gram_of(product, without_padding(inputs.pruned, real))
        matrix = product.matrix(weights.dense).astype(jnp.float32)
        return product.unmatrix(prune_layer(matrix, gram, num_kept[name], block, damping))

    rules = Rules(prune, lambda name, sums, bias: bias.pruned, lambda batch, stored: stored.pruned)
    start = apply_masks(model.params, _largest(model.params, num_kept))
    rest = (model.buffers, inputs)
    _, params = in_lockstep(model.apply, rules, model.params, start, Both(rest, rest))
    masks = _largest(params, num_kept)
    return masks, apply_masks(params, masks)


def _largest(params: Params, num_kept: dict[str, int]) -> Masks:
    """As many as are to be kept; where no more than those are not zero, all of these."""
    return {
        name: keep_top(jnp.abs(params[name]).reshape(-1), num).reshape(params[name].shape)
        for name, num in num_kept.items()
    }


class _Blocks(NamedTuple):
    """One layer cut into blocks of columns, which are rows `K` of its matrices.

    Attributes:
      factors: `[blocks, B, padded K]`, rows of the upper Cholesky factor of the inverse.
      starts: `int [blocks]`, each one's first column.
      kept: `int [blocks]`, weights that it keeps.
    """

    factors: Array
    starts: Array
    kept: Array


def prune_layer(weights: Array, gram: Array, num_kept: int, block: int, damping: float) -> Array:
    """SparseGPT of one layer.

    Args:
      weights: `[groups, K, O]`.
      gram: of its inputs, `[groups, K, K]`.
      num_kept: weights to keep, the same share in every block of every group.
      block: columns whose masks are chosen together.
      damping: relative to the mean diagonal of `gram`.

    Returns:
      `[groups, K, O]`, zero where a weight has been removed.
    """
    groups, columns, outputs = weights.shape
    block = min(block, columns)
    starts = np.arange(0, columns, block)
    ends = np.minimum(starts + block, columns) * outputs
    ends = (np.arange(groups)[:, None] * columns * outputs + ends).reshape(-1)
    until = np.round(num_kept * ends / weights.size).astype(int)
    kept = jnp.asarray(np.diff(until, prepend=0).reshape(groups, -1))
    spare = len(starts) * block - columns

    def one_group(weights: Array, gram: Array, kept: Array) -> Array:
        dead = jnp.diagonal(gram) == 0
        factor = _factor(gram + jnp.diag(dead.astype(gram.dtype)), damping)
        factor = jnp.pad(factor, (0, spare)) + jnp.diag(jnp.arange(columns + spare) >= columns)
        blocks = _Blocks(factor.reshape(len(starts), block, -1), jnp.asarray(starts), kept)
        alive = jnp.where(dead[:, None], 0.0, weights)
        return _prune_columns(jnp.pad(alive, ((0, spare), (0, 0))), blocks, columns)[:columns]

    return jax.vmap(one_group)(weights, gram, kept)


def _factor(gram: Array, damping: float) -> Array:
    """Upper Cholesky factor `U [K, K]` of the damped inverse: `U'U` is it."""
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)
    damped = gram + damping * jnp.mean(jnp.diagonal(gram)) * identity
    inverse = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(damped), True), identity)
    return jnp.linalg.cholesky(inverse).T


def _prune_columns(weights: Array, blocks: _Blocks, columns: int) -> Array:
    size = blocks.factors.shape[1]

    def one_block(weights: Array, parts: _Blocks) -> tuple[Array, Array]:
        factor, start, kept = parts
        inside = jax.lax.dynamic_slice_in_dim(factor, start, size, axis=1)
        seen = jax.lax.dynamic_slice_in_dim(weights, start, size)
        scores = jnp.square(seen / jnp.diagonal(inside)[:, None])
        real = (start + jnp.arange(size) < columns)[:, None]
        mask = keep_top(jnp.where(real, scores, -jnp.inf).reshape(-1), kept).reshape(seen.shape)
        errors = _errors(seen, mask, inside)
        return weights - exact_matmul(factor.T, errors), mask

    weights, masks = jax.lax.scan(one_block, weights, blocks)
    return jnp.where(masks.reshape(weights.shape), weights, 0.0)


def _errors(weights: Array, mask: Array, factor: Array) -> Array:
    """What each column of a block leaves to those behind it, `[B, O]`."""

    def column(index: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        weights, errors = state
        error = jnp.where(mask[index], 0.0, weights[index] / factor[index, index])
        return weights - factor[index][:, None] * error, errors.at[index].set(error)

    return jax.lax.fori_loop(0, weights.shape[0], column, (weights, jnp.zeros_like(weights)))[1]
