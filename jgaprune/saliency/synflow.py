"""SynFlow: the flow through every weight of the network made positive, pruned round by round.

Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic
flow", NeurIPS 2020.
"""

import jax
import jax.numpy as jnp

from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.saliency.one_shot import one_shot
from jgaprune.types import Array, Buffers, Masks, Params, Scores


def synflow(model: Model, sparsity: float, *, rounds: int = 100) -> Scores:
    """Synaptic flow: weight times gradient of the summed output, all weights positive.

    No data: the input is all ones, means of batch-norm layers are left out. Each round keeps
    `(1 - sparsity) ** (round / rounds)` of the weights.

    Args:
      model: the dense network.
      sparsity: fraction to remove, in (0, 1).
      rounds: of scoring and pruning.

    Returns:
      `float32`, one score per weight, by leaf name in the leaf's shape.
    """
    layout = model.layout
    params = {name: jnp.abs(leaf) for name, leaf in model.params.items()}
    buffers = {
        name: jnp.zeros_like(buffer) if name.endswith(".mean") else buffer
        for name, buffer in model.buffers.items()
    }
    masks: Masks = {name: jnp.ones(params[name].shape, bool) for name in layout.names}
    for number in range(1, rounds):
        left = (1.0 - sparsity) ** (number / rounds)
        masks = one_shot(_flow(model, params, buffers, masks), layout, 1.0 - left)
    return _flow(model, params, buffers, masks)


@jax.jit
def _flow(model: Model, params: Params, buffers: Buffers, masks: Masks) -> Scores:
    """Flow through the weights that are left; 0 for the others."""
    ones = jnp.ones((1, *model.spec.input_shape))

    def total(params: Params) -> Array:
        return jnp.sum(model.apply(apply_masks(params, masks), buffers, ones))

    gradient = jax.grad(total)(params)
    return {name: gradient[name] * params[name] for name in masks}
