"""Objectives that compare logits or decisions with the dense network's, without labels."""

import jax
import jax.numpy as jnp

from jgaprune.model import Model
from jgaprune.objectives.labels import compare_labels
from jgaprune.objectives.scoring import Comparison, Setting, objective_of
from jgaprune.types import Array, Objective, Repair


def output_distance(
    model: Model, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """The mean of `total_variation` and `logit_cosine`: 0 is the dense network. The default.

    The one counts what changes decisions, which matters most where little is lost; the other
    still tells candidates apart where much is lost.

    Args:
      model: the dense model.
      inputs: model inputs `[N, ...]`; by default those of `repair`, which then costs no extra
        forward pass.
      repair: applied to every candidate before it is measured, or None.

    Returns:
      An `Objective` for one candidate.

    Raises:
      ValueError: neither inputs nor a repair are given.
    """
    return _against_dense(compare_outputs, model, inputs, repair)


def total_variation(
    model: Model, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Total variation distance between the class probabilities and the dense network's.

    Half the sum of absolute differences, the mean over inputs, in 0..1; 0 is the dense network.
    The logits are brought to the common scale of the dense network's before: decisions do not
    depend on it, and pruning shrinks it. Arguments as in `output_distance`.
    """
    return _against_dense(compare_probabilities, model, inputs, repair)


def logit_cosine(
    model: Model, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """One minus the cosine between the centred logits of all inputs and the dense network's.

    0 is the dense network, 1 is unrelated outputs. Logits are centred per input, since the
    softmax ignores their mean; their common scale does not count either. Arguments as in
    `output_distance`.
    """
    return _against_dense(compare_directions, model, inputs, repair)


def logit_mse(
    model: Model, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Squared error of the centred logits, relative to their variance in the dense network.

    0 is the dense network, 1 is as bad as a constant output. Arguments as in `output_distance`.
    """
    return _against_dense(compare_logits, model, inputs, repair)


def agreement(
    model: Model, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Share of inputs on which the arg-max differs from the dense network's (fitness).

    `loss` is the share that agrees. Arguments as in `output_distance`.
    """
    return _against_dense(compare_decisions, model, inputs, repair)


def compare_outputs(logits: Array, dense: Array) -> tuple[Array, Array]:
    """Mean of the total variation and of one minus the cosine of logits `[N, C]`."""
    decisions, _ = compare_probabilities(logits, dense)
    directions, _ = compare_directions(logits, dense)
    loss = 0.5 * (decisions + directions)
    return loss, loss


def compare_probabilities(logits: Array, dense: Array) -> tuple[Array, Array]:
    """Total variation of the softmax of logits `[N, C]`, brought to the dense logits' scale."""
    logits, dense = _centred(logits), _centred(dense)
    scale = jnp.sqrt(jnp.sum(jnp.square(dense)))
    difference = jax.nn.softmax(scale * _direction(logits)) - jax.nn.softmax(dense)
    loss = 0.5 * jnp.mean(jnp.sum(jnp.abs(difference), axis=-1))
    return loss, loss


def compare_directions(logits: Array, dense: Array) -> tuple[Array, Array]:
    """One minus the cosine of centred logits `[N, C]`, taken over all of them together."""
    loss = 1.0 - jnp.sum(_direction(_centred(logits)) * _direction(_centred(dense)))
    return loss, loss


def compare_logits(logits: Array, dense: Array) -> tuple[Array, Array]:
    """Relative squared error of centred logits `[N, C]`."""
    logits, dense = _centred(logits), _centred(dense)
    loss = jnp.mean(jnp.square(logits - dense)) / jnp.mean(jnp.square(dense))
    return loss, loss


def compare_decisions(logits: Array, dense: Array) -> tuple[Array, Array]:
    """Disagreement of the arg-max of logits `[N, C]`."""
    return compare_labels(logits, jnp.argmax(dense, axis=-1))


def _centred(logits: Array) -> Array:
    return logits - jnp.mean(logits, axis=-1, keepdims=True)


def _direction(values: Array) -> Array:
    """Scaled to unit length, whatever the scale before; zero stays zero."""
    largest = jnp.max(jnp.abs(values))
    # First this, so that the squares neither vanish nor overflow.
    values = values / jnp.where(largest == 0, 1.0, largest)
    length = jnp.sqrt(jnp.sum(jnp.square(values)))
    return values / jnp.where(length == 0, 1.0, length)


def _against_dense(
    compare: Comparison, model: Model, inputs: Array | None, repair: Repair | None
) -> Objective:
    setting = Setting(model, inputs, repair)
    return objective_of(compare, setting, setting.dense_logits)
