"""Objectives that look at labels: the paper's setting, never the default."""

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.model import PADDING, Model, label_faults
from jgaprune.objectives.scoring import Comparison, Setting, objective_of
from jgaprune.types import Array, Objective, Repair


def accuracy(
    model: Model, labels: Array, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Error rate on labels (fitness); `loss` is the accuracy. The paper's setting.

    Args:
      model: the dense model.
      labels: `int [N]`, classes from 0; of a language model the next tokens, `[N, L]`, of which
        -1 counts for nothing.
      inputs: as in `output_distance`.
      repair: as in `output_distance`.

    Raises:
      ValueError: labels do not fit the inputs or the model's outputs.
    """
    return _against_labels(compare_labels, Setting(model, inputs, repair), labels)


def cross_entropy(
    model: Model, labels: Array, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Cross-entropy to labels in nats per input. Arguments as in `accuracy`."""
    return _against_labels(compare_likelihood, Setting(model, inputs, repair), labels)


def compare_labels(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Error rate, and accuracy, of logits `[N, C]` on labels `[N]`."""
    correct = jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32))
    correct = jnp.where(jnp.any(jnp.isnan(logits)), jnp.nan, correct)  # arg-max would hide it
    return 1.0 - correct, correct


def compare_likelihood(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy of logits `[N, C]` to labels `[N]`."""
    likelihoods = jax.nn.log_softmax(logits.astype(jnp.float32))
    loss = -jnp.mean(jnp.take_along_axis(likelihoods, labels[..., None], axis=-1))
    return loss, loss


def _against_labels(compare: Comparison, setting: Setting, labels: Array) -> Objective:
    given, spec = np.asarray(labels), setting.model.spec
    if faults := label_faults(given, setting.shown.shape[0], spec):
        raise ValueError(" ".join(faults))
    counted = given != PADDING if spec.padding and spec.label_shape else None
    return objective_of(compare, setting, jnp.asarray(labels), counted)
