"""How far the pruned network's layers are from the dense network's, not only its outputs."""

import jax.numpy as jnp

from jgaprune.model import Model
from jgaprune.objectives.outputs import compare_logits
from jgaprune.objectives.scoring import Setting, objective_of
from jgaprune.objectives.watching import Features, features_of
from jgaprune.types import Array, Objective, Repair


def feature_distance(
    model: Model, *, inputs: Array | None = None, repair: Repair | None = None
) -> Objective:
    """Squared error of what enters every layer, relative to its size in the dense network.

    The mean over the prunable convolutions and dense layers (see `features_of`) and, as one
    layer more, `logit_mse`; 0 is the dense network. It still tells candidates apart whose outputs
    say nothing any more. It costs a forward pass, also on the inputs of the repair, and keeps the
    dense network's features. Arguments as in `output_distance`.
    """
    setting = Setting(model, inputs, repair)
    dense = features_of(model, model.params, model.buffers, setting.shown)
    return objective_of(compare_features, setting, dense)


def compare_features(features: Features, dense: Features) -> tuple[Array, Array]:
    """Mean relative squared error of the layers' inputs and of the centred logits."""
    errors = [_relative(features.layers[name], dense.layers[name]) for name in dense.layers]
    loss = jnp.mean(jnp.stack([*errors, compare_logits(features.logits, dense.logits)[0]]))
    return loss, loss


def _relative(pruned: Array, dense: Array) -> Array:
    """Squared error over the squares of the dense values; of nothing at all, the error itself."""
    pruned, dense = pruned.astype(jnp.float32), dense.astype(jnp.float32)
    size = jnp.mean(jnp.square(dense))
    return jnp.mean(jnp.square(pruned - dense)) / jnp.where(size == 0, 1.0, size)
