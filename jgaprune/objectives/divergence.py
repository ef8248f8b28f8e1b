"""Kullback-Leibler divergences between the pruned and the dense network's outputs.

Over a large vocabulary the dense network's largest outputs and one bucket for all others say
nearly as much as every single one: EvoPress (Sieberling et al., ICML 2025) needs 512 of them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.model import Model
from jgaprune.objectives.scoring import Comparison, Setting, objective_of
from jgaprune.types import Array, Objective, Repair


def kl(
    model: Model,
    *,
    inputs: Array | None = None,
    repair: Repair | None = None,
    top: int | None = None,
) -> Objective:
    """Kullback-Leibler divergence of the outputs, KL(dense || pruned), in nats per input.

    Args:
      model: the dense model.
      inputs: as in `output_distance`.
      repair: as in `output_distance`.
      top: so many outputs, for every input those that the dense network gives most to, are
        compared one by one, and all others as one; by default all are compared. Never more than
        the divergence over all of them.

    Raises:
      ValueError: `top` is below 1, or there are neither inputs nor a repair.
    """
    setting = Setting(model, inputs, repair)
    return _divergence(compare_distributions, compare_top, setting, top)


def reverse_kl(
    model: Model,
    *,
    inputs: Array | None = None,
    repair: Repair | None = None,
    top: int | None = None,
) -> Objective:
    """The divergence the other way round, KL(pruned || dense), in nats per input.

    It punishes what the dense network would never say more than what the pruned one leaves out.
    Arguments as in `kl`.
    """
    setting = Setting(model, inputs, repair)
    return _divergence(compare_distributions_reversed, compare_top_reversed, setting, top)


class Top(NamedTuple):
    """The dense network's largest outputs and all others together.

    Attributes:
      classes: `int [N, K]`.
      log_shares: `float32 [N, K + 1]`, log-probabilities of these classes and of all others.
    """

    classes: Array
    log_shares: Array


def top_outputs(logits: Array, top: int) -> Top:
    """The `top` largest of logits `[N, C]`, fewer than `C`.

    >>> float(jnp.exp(top_outputs(jnp.log(jnp.array([[0.5, 0.2, 0.3]])), 1).log_shares)[0, 1])
    0.5
    """
    _, classes = jax.lax.top_k(logits, top)
    return Top(classes, _log_shares(logits, classes))


def compare_distributions(logits: Array, dense: Array) -> tuple[Array, Array]:
    """KL(dense || pruned) of the softmax of logits `[N, C]`."""
    return _kl(jax.nn.log_softmax(dense), jax.nn.log_softmax(logits))


def compare_distributions_reversed(logits: Array, dense: Array) -> tuple[Array, Array]:
    """KL(pruned || dense) of the softmax of logits `[N, C]`."""
    return _kl(jax.nn.log_softmax(logits), jax.nn.log_softmax(dense))


def compare_top(logits: Array, dense: Top) -> tuple[Array, Array]:
    """KL(dense || pruned) of the shares of the dense network's largest classes and the rest."""
    return _kl(dense.log_shares, _log_shares(logits, dense.classes))


def compare_top_reversed(logits: Array, dense: Top) -> tuple[Array, Array]:
    """KL(pruned || dense) of the shares of the dense network's largest classes and the rest."""
    return _kl(_log_shares(logits, dense.classes), dense.log_shares)


def _divergence(
    compare: Comparison, compare_few: Comparison, setting: Setting, top: int | None
) -> Objective:
    if top is not None and top < 1:
        raise ValueError(f"top must be at least 1, got {top}; None compares all outputs.")
    dense = setting.dense_logits
    if top is None or top >= dense.shape[-1] - 1:  # the rest would be one class or none
        return objective_of(compare, setting, dense)
    return objective_of(compare_few, setting, jax.jit(top_outputs, static_argnums=1)(dense, top))


def _log_shares(logits: Array, classes: Array) -> Array:
    """Log-probabilities of some classes `[N, K]` and, last, of all others together."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    chosen = jnp.take_along_axis(log_p, classes, axis=-1)
    others = jnp.put_along_axis(log_p, classes, -jnp.inf, axis=-1, inplace=False)
    rest = jax.nn.logsumexp(others, axis=-1, keepdims=True)
    return jnp.concatenate([chosen, rest], axis=-1)


def _kl(log_p: Array, log_q: Array) -> tuple[Array, Array]:
    loss = jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1))
    return loss, loss
