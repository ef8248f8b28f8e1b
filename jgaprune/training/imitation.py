"""The loss of training: how far a masked network is from the dense one, on a batch."""

import jax
from jax.tree_util import Partial

from jgaprune.model import Model, real_tokens, without_padding
from jgaprune.objectives import compare_logits
from jgaprune.repair import dense_and_delta
from jgaprune.training.descent import Loss
from jgaprune.types import Array, Params


def imitation(model: Model) -> Loss:
    """Squared error of the centred logits, after the batch-norm delta on the batch itself.

    Without the delta the statistics would lag behind the weights; with it the gradient sees what
    the repair will make of them. The squared error of logits has a gradient where a divergence
    of probabilities is flat, and leads to better masks than the KL divergence does.

    Args:
      model: the dense network.
    """
    return Partial(_imitation, model)


def _imitation(model: Model, params: Params, inputs: Array) -> Array:
    dense, repair = dense_and_delta(model, inputs)
    logits, _, _ = repair.fit(params, model.buffers)
    real = real_tokens(model.spec, inputs)
    logits, dense = without_padding(logits, real), without_padding(dense, real)
    return compare_logits(logits, jax.lax.stop_gradient(dense))[0]
