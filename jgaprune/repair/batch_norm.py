"""The batch-norm delta: statistics moved by what pruning did to them, layer by layer.

The same inputs go through the dense and the pruned network. At every batch-norm layer, in
forward order and after all layers before it are repaired, the stored mean moves by the
difference of the two batch means, and the stored variance is scaled by the ratio of the two
batch variances. Only differences enter, so inputs that do not look like the training data harm
less than resetting the statistics on them. One forward pass of the pruned network does it all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.model import Model
from jgaprune.model.forward import Apply, Observe, keep_stored
from jgaprune.types import Array, Buffers, Norm, NormRecord, Params, Repair

Fit = Callable[[Params, Buffers], tuple[Array, Params, Buffers]]


@jax.tree_util.register_static
@dataclass(frozen=True)
class Bounds:
    """How far statistics may move.

    Attributes:
      variance_ratio: factor by which a variance may change, either way.
      mean_shift: shift of a mean, in stored standard deviations.

    Raises:
      ValueError: a bound is impossible.
    """

    variance_ratio: float = 4.0
    mean_shift: float = 5.0

    def __post_init__(self) -> None:
        if not self.variance_ratio >= 1.0 or not self.mean_shift >= 0.0:
            raise ValueError(
                "max_variance_ratio must be at least 1 and max_mean_shift at least 0, got "
                f"{self.variance_ratio:g} and {self.mean_shift:g}."
            )


def batch_norm_delta(
    model: Model,
    inputs: Array,
    *,
    shown: Array | None = None,
    max_variance_ratio: float = 4.0,
    max_mean_shift: float = 5.0,
) -> Repair:
    """Repairs the running statistics of a masked model on given inputs.

    A model without visible batch-norm layers is returned unchanged by this repair.

    Args:
      model: the dense model.
      inputs: model inputs `[N, ...]`, real ones without labels, or synthesised.
      shown: further inputs `[M, ...]`, for objectives to look at: no statistics are taken from
        them, and their logits `[M, C]` come behind the others, from the repaired network.
      max_variance_ratio: bound on the factor by which a variance may change, either way.
      max_mean_shift: bound on the shift of a mean, in stored standard deviations.

    Returns:
      A `Repair`, whose `fit` changes the buffers only.

    Raises:
      ValueError: a bound is impossible.
    """
    bounds = Bounds(max_variance_ratio, max_mean_shift)
    everything = inputs if shown is None else jnp.concatenate([inputs, shown])
    if not model.shows_norms:
        return Repair(everything, Partial(_forward_only, model.apply, everything))
    _, fit = _dense_and_fit(bounds, model, inputs)
    if shown is not None:
        fit = Partial(_fit_and_show, fit, model.apply, shown)
    return Repair(everything, fit)


def dense_and_delta(model: Model, inputs: Array) -> tuple[Array, Repair]:
    """The batch-norm delta, and what the dense model says on the way to it.

    Args:
      model: the dense model.
      inputs: model inputs `[N, ...]`.

    Returns:
      Logits `[N, C]` of the dense model, and `batch_norm_delta(model, inputs)`: together in one
      forward pass.
    """
    if not model.shows_norms:
        return model.apply(model.params, model.buffers, inputs), batch_norm_delta(model, inputs)
    logits, fit = _dense_and_fit(Bounds(), model, inputs)
    return logits, Repair(inputs, fit)


def _dense_and_fit(bounds: Bounds, model: Model, inputs: Array) -> tuple[Array, Fit]:
    logits, dense = jax.jit(_observe_dense)(model, inputs)
    return logits, Partial(_fit, bounds, model.observe, inputs, dense)


def _observe_dense(model: Model, inputs: Array) -> tuple[Array, dict[str, NormRecord]]:
    return model.observe(model.params, model.buffers, inputs, keep_stored)  # type: ignore[misc]


def _forward_only(apply, inputs, params, buffers):
    return apply(params, buffers, inputs), params, buffers


def _fit(
    bounds: Bounds,
    observe: Observe,
    inputs: Array,
    dense: dict[str, NormRecord],
    params: Params,
    buffers: Buffers,
) -> tuple[Array, Params, Buffers]:
    def rule(name: str, batch: Norm, stored: Norm) -> Norm:
        return moved(bounds, dense[name].batch, batch, stored)

    logits, records = observe(params, buffers, inputs, rule)
    repaired = dict(buffers)
    for name, record in records.items():
        repaired[f"{name}.mean"], repaired[f"{name}.var"] = record.used
    return logits, params, repaired


def _fit_and_show(
    fit: Fit, apply: Apply, shown: Array, params: Params, buffers: Buffers
) -> tuple[Array, Params, Buffers]:
    logits, params, buffers = fit(params, buffers)
    return jnp.concatenate([logits, apply(params, buffers, shown)]), params, buffers


def moved(bounds: Bounds, dense: Norm, pruned: Norm, stored: Norm) -> Norm:
    """Moves stored statistics from what the dense network showed to what the pruned one shows."""
    tiny = jnp.finfo(jnp.float32).tiny
    limit = bounds.mean_shift * jnp.sqrt(stored.var)
    shift = jnp.clip(pruned.mean - dense.mean, -limit, limit)
    ratio = (pruned.var + tiny) / (dense.var + tiny)
    ratio = jnp.clip(ratio, 1.0 / bounds.variance_ratio, bounds.variance_ratio)
    return Norm(stored.mean + shift, stored.var * ratio)
