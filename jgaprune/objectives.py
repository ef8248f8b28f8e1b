"""Objectives: how good one set of masks is. Lower fitness is better.

The label-free ones compare the masked (and repaired) network with the dense one on the same
inputs. `cross_entropy` and `accuracy` use labels: the paper's setting, never the default. A new
objective is a function `logits, reference -> (fitness, loss)` and a builder. Where a language
model has logits for every token, `[N, L, C]`, each of them counts as an input does.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jgaprune.masks import apply_masks, count_kept
from jgaprune.model import Model, label_faults
from jgaprune.types import Array, Key, Masks, Objective, Repair, Score

Comparison = Callable[[Array, Array], tuple[Array, Array]]
"""`logits [N, C], reference [N, ...] -> (fitness [], loss [])`; a module-level function."""


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


def kl(model: Model, *, inputs: Array | None = None, repair: Repair | None = None) -> Objective:
    """Kullback-Leibler divergence of the outputs, KL(dense || pruned), in nats per input.

    Arguments as in `output_distance`.
    """
    return _against_dense(compare_distributions, model, inputs, repair)


def agreement(
    model: Model, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Share of inputs on which the arg-max differs from the dense network's (fitness).

    `loss` is the share that agrees. Arguments as in `output_distance`.
    """
    return _against_dense(compare_decisions, model, inputs, repair)


def accuracy(
    model: Model, labels: Array, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Error rate on labels (fitness); `loss` is the accuracy. The paper's setting.

    Args:
      model: the dense model.
      labels: `int [N]`, classes from 0.
      inputs: as in `output_distance`.
      repair: as in `output_distance`.

    Raises:
      ValueError: labels do not fit the inputs or the model's outputs.
    """
    return _objective(
        compare_labels, model, inputs, repair, _checked(model, labels, inputs, repair)
    )


def cross_entropy(
    model: Model, labels: Array, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Cross-entropy to labels in nats per input. Arguments as in `accuracy`."""
    return _objective(
        compare_likelihood, model, inputs, repair, _checked(model, labels, inputs, repair)
    )


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


def compare_distributions(logits: Array, dense: Array) -> tuple[Array, Array]:
    """KL(dense || pruned) of the softmax of logits `[N, C]`."""
    log_p, log_q = jax.nn.log_softmax(dense), jax.nn.log_softmax(logits)
    loss = jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1))
    return loss, loss


def compare_decisions(logits: Array, dense: Array) -> tuple[Array, Array]:
    """Disagreement of the arg-max of logits `[N, C]`."""
    return compare_labels(logits, jnp.argmax(dense, axis=-1))


def compare_labels(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Error rate, and accuracy, of logits `[N, C]` on labels `[N]`."""
    correct = jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32))
    correct = jnp.where(jnp.any(jnp.isnan(logits)), jnp.nan, correct)  # arg-max would hide it
    return 1.0 - correct, correct


def compare_likelihood(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy of logits `[N, C]` to labels `[N]`."""
    log_likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)
    loss = -jnp.mean(log_likelihood)
    return loss, loss


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
    shown = _shown(inputs, repair)
    reference = jax.jit(_dense_logits)(model, shown)
    return _objective(compare, model, inputs, repair, reference)


def _dense_logits(model: Model, inputs: Array) -> Array:
    return model.apply(model.params, model.buffers, inputs)


def _shown(inputs: Array | None, repair: Repair | None) -> Array:
    """The inputs that the objective looks at."""
    if inputs is not None:
        return inputs
    if repair is None:
        raise ValueError("an objective needs inputs: pass inputs=[N, ...], or a repair with some.")
    return repair.inputs


def _checked(model: Model, labels: Array, inputs: Array | None, repair: Repair | None) -> Array:
    faults = label_faults(np.asarray(labels), _shown(inputs, repair).shape[0], model.spec)
    if faults:
        raise ValueError(" ".join(faults))
    return jnp.asarray(labels)


def _objective(
    compare: Comparison,
    model: Model,
    inputs: Array | None,
    repair: Repair | None,
    reference: Array,
) -> Objective:
    return Partial(_score, Partial(compare), model, inputs, repair, reference)


def _score(
    compare: Comparison,
    model: Model,
    inputs: Array | None,
    repair: Repair | None,
    reference: Array,
    key: Key,
    masks: Masks,
) -> Score:
    params, buffers = apply_masks(model.params, masks), model.buffers
    if repair is not None:
        logits, params, buffers = repair.fit(params, buffers)
    if inputs is not None:
        logits = model.apply(params, buffers, inputs)
    fitness, loss = compare(logits, reference)
    return Score(fitness, loss, count_kept(masks))
