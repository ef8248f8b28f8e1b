"""Reconstruction: the kept weights refitted, layer by layer, to what the layer did before.

The same inputs go through the dense and the pruned network side by side. At every convolution
and dense layer the kept weights become the ridge regression of the dense layer's outputs on the
pruned layer's inputs, which the repair of the layers before has already improved; behind it the
batch-norm statistics move by the delta, and where there is no batch-norm the gain of a norm and
the bias take over what is left of the error, channel by channel. No gradients, one pass.

With Gram matrices as in OBS and SparseGPT (Frantar and Alistarh, 2023); masks are kept as they
are. Conjugate gradients solve for all outputs at once, whatever each of them has kept: every
step is one matrix product, and none makes the fit worse.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.model import Model, mean_factor, real_tokens, without_padding
from jgaprune.ops import (
    Both,
    Gain,
    Product,
    Rules,
    enough_rows,
    exact_matmul,
    in_lockstep,
    jgaprune_statistics,
)
from jgaprune.repair.batch_norm import Bounds, moved
from jgaprune.repair.gains import regained
from jgaprune.types import Array, Buffers, Norm, Params, Repair

_USUAL_BOUNDS = Bounds()


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Settings:
    weights: bool
    biases: bool
    gains: bool
    ridge: float
    steps: int
    bounds: Bounds


def reconstruct(
    model: Model,
    inputs: Array,
    *,
    shown: Array | None = None,
    weights: bool = True,
    biases: bool = True,
    gains: bool = True,
    ridge: float = 0.01,
    steps: int = 32,
    bounds: Bounds = _USUAL_BOUNDS,
) -> Repair:
    """Refits kept weights, biases, gains and batch-norm statistics of a masked model.

    A weight counts as kept where it is not zero. Grouped convolutions are refitted group by
    group; transposed ones, and weights that are used in another way, stay as they are. So do
    weights, biases and gains that a `scan` or another loop hides. A parameter that is used more
    than once is decided at its first use.

    Args:
      model: the dense model.
      inputs: model inputs `[N, ...]`, real ones without labels, or synthesised.
      shown: other inputs `[M, ...]` for objectives to look at, so that a fit to the odd in
        `inputs` is not rewarded; by default `inputs` themselves.
      weights: whether kept weights are refitted.
      biases: whether biases outside of batch-norm layers, if they are not prunable themselves,
        take over the mean error of their sum.
      gains: whether vectors that multiply activations outside of batch-norm layers, as those of
        layer-norms and RMS-norms do, are scaled to bring the products nearest to the dense ones, if
        they are not prunable themselves.
      ridge: pull towards the weights as they were, relative to the mean square of a layer's
        inputs.
      steps: of conjugate gradients per layer.
      bounds: how far batch-norm statistics may move, and gains change.

    Returns:
      A `Repair`, whose logits are those of `shown`.

    Raises:
      ValueError: `ridge` is negative or `steps` below 1.
    """
    if ridge < 0 or steps < 1:
        raise ValueError(f"ridge must be at least 0 and steps at least 1, got {ridge} and {steps}.")
    settings = _Settings(weights, biases, gains, float(ridge), steps, bounds)
    fit = Partial(_fit, settings, model, inputs)
    if shown is None:
        return Repair(inputs, fit)
    return Repair(shown, Partial(_fit_and_show, fit, model.apply, shown))


def _fit_and_show(fit, apply, shown, params, buffers):
    _, params, buffers = fit(params, buffers)
    return apply(params, buffers, shown), params, buffers


def _fit(
    settings: _Settings, model: Model, inputs: Array, params: Params, buffers: Buffers
) -> tuple[Array, Params, Buffers]:
    def forward(params: Params, buffers: Buffers, inputs: Array):
        if model.observe is None:
            return model.apply(params, buffers, inputs), {}
        return model.observe(params, buffers, inputs, _as_decided)

    (logits, records), params = in_lockstep(
        forward,
        _rules(settings, model, real_tokens(model.spec, inputs)),
        model.params,
        params,
        Both((model.buffers, inputs), (buffers, inputs)),
    )
    repaired = dict(buffers)
    for name, record in records.items():
        repaired[f"{name}.mean"], repaired[f"{name}.var"] = record.used
    return logits, params, repaired


def _rules(settings: _Settings, model: Model, real: Array | None) -> Rules:
    def refit(name: str, product: Product, inputs: Both, weights: Both) -> Array:
        if not settings.weights or name not in model.spec.prunable:
            return weights.pruned
        shown = Both(*(without_padding(one, real) for one in inputs))
        return _regression(settings, product, shown, weights)

    def is_free(name: str) -> bool:
        of_norm = name.rpartition(".")[0] in model.spec.norms
        prunable = name in model.spec.prunable
        return not of_norm and not prunable and _is_vector(model.params[name])

    def rebias(name: str, sums: Both, bias: Both) -> Array:
        if not settings.biases or not is_free(name):
            return bias.pruned
        error = without_padding(sums.dense - sums.pruned, real)
        return bias.pruned + mean_factor(error, real) * _mean_like(error, bias.pruned)

    def regain(gain: Gain, products: Both) -> Array:
        if not settings.gains or not is_free(gain.name):
            return gain.leaf.pruned
        follows = settings.biases and gain.bias is not None and is_free(gain.bias)
        return regained(settings.bounds, gain, products, mean_follows=follows, real=real)

    def renorm(batch: Both, stored: Both) -> Norm:
        return moved(settings.bounds, Norm(*batch.dense), Norm(*batch.pruned), Norm(*stored.pruned))

    return Rules(refit, rebias, renorm, regain)


def _as_decided(name: str, batch: Norm, stored: Norm) -> Norm:
    return Norm(*jgaprune_statistics(*batch, *stored))


def _is_vector(leaf: Array) -> bool:
    """Whether it is a bias or a gain: what is added per position, as embeddings are, is none."""
    return leaf.ndim > 0 and sum(size > 1 for size in leaf.shape) <= 1


def _mean_like(error: Array, bias: Array) -> Array:
    """The mean error along every axis that the bias is constant on."""
    axes = tuple(axis for axis, size in enumerate(bias.shape) if size == 1)
    return jnp.mean(error, axis=axes, keepdims=True)


def _regression(settings: _Settings, product: Product, inputs: Both, weights: Both) -> Array:
    """Ridge regression of the dense outputs on the pruned inputs, near the weights they had."""
    gram, target = _moments(product, inputs, product.matrix(weights.dense))
    start = product.matrix(weights.pruned).astype(jnp.float32)
    scale = jnp.mean(jnp.diagonal(gram, axis1=1, axis2=2), axis=1)[:, None, None]
    strength = settings.ridge * scale + jnp.finfo(jnp.float32).tiny
    fitted = _solve(gram, strength, target + strength * start, start, settings.steps)
    return product.unmatrix(fitted)


def _moments(product: Product, inputs: Both, dense_weights: Array) -> tuple[Array, Array]:
    """`X'X [groups, K, K]` and `X'Y [groups, K, O]`, for pruned X and dense Y."""
    rows = enough_rows(product, inputs.pruned)
    outputs = exact_matmul(enough_rows(product, inputs.dense), dense_weights.astype(jnp.float32))
    turned = jnp.swapaxes(rows, 1, 2)
    return exact_matmul(turned, rows), exact_matmul(turned, outputs)


def _solve(gram: Array, ridge: Array, target: Array, start: Array, steps: int) -> Array:
    """Conjugate gradients for `(gram + ridge) w = target` on the places where `start` is not 0.

    Args:
      gram: `[groups, K, K]`.
      ridge: `[groups, 1, 1]`.
      target: `[groups, K, O]`.
      start: `[groups, K, O]`; zero where a weight has been removed.
      steps: of the iteration.
    """
    free = (start != 0).astype(gram.dtype)
    inverse = 1.0 / (jnp.diagonal(gram, axis1=1, axis2=2)[..., None] + ridge)

    def times(w: Array) -> Array:
        return free * (exact_matmul(gram, w) + ridge * w)

    residual = free * target - times(start)
    direction = inverse * residual
    state = start, residual, direction, _dot(residual, direction)

    def step(_, state):
        w, residual, direction, size = state
        image = times(direction)
        length = size / jnp.maximum(_dot(direction, image), jnp.finfo(jnp.float32).tiny)
        w, residual = w + length * direction, residual - length * image
        next_size = _dot(residual, inverse * residual)
        share = next_size / jnp.maximum(size, jnp.finfo(jnp.float32).tiny)
        return w, residual, inverse * residual + share * direction, next_size

    return jax.lax.fori_loop(0, steps, step, state)[0]


def _dot(first: Array, second: Array) -> Array:
    """Per group and output: `[groups, 1, O]`."""
    return jnp.sum(first * second, axis=1, keepdims=True)
