"""SynFlow: the flow through every weight of the network made positive, pruned round by round.

Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic
flow", NeurIPS 2020.
"""

import jax
import jax.numpy as jnp

from jgaprune.masks import apply_masks, kept_for
from jgaprune.model import Model
from jgaprune.saliency.gradual import by_survival, schedule
from jgaprune.saliency.one_shot import one_shot
from jgaprune.types import Array, Buffers, Masks, Params, Scores


def synflow(model: Model, sparsity: float, *, rounds: int = 100) -> Scores:
    """Synaptic flow: weight times gradient of the summed output, all weights positive.

    No data: the input is all ones, means of batch-norm layers are left out, and every layer is
    scaled to a gain of about 1, which changes the flow through all weights alike. Each round keeps
    the same share of what is left, down to the sparsity and a little beyond.

    Args:
      model: the dense network.
      sparsity: fraction to remove, in (0, 1).
      rounds: of scoring and pruning, down to the sparsity.

    Returns:
      `float32`, the budget over the rank of each weight, by leaf name in the leaf's shape.

    Raises:
      ValueError: sparsity out of range, no rounds, or inputs are tokens.
    """
    if model.spec.vocabulary is not None:
        raise ValueError(f"{model.spec.name} takes tokens: there is no input of all ones for it.")
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}.")
    layout, num_kept = model.layout, kept_for(sparsity, model.layout.num_weights)
    params = {name: jnp.abs(leaf) for name, leaf in model.params.items()}
    params |= {name: _to_unit_gain(params[name]) for name in layout.names}
    buffers = {
        name: jnp.zeros_like(buffer) if name.endswith(".mean") else buffer
        for name, buffer in model.buffers.items()
    }
    masks: Masks = {name: jnp.ones(params[name].shape, bool) for name in layout.names}
    lasted = {name: jnp.zeros(params[name].shape, jnp.int32) for name in layout.names}
    flows = sizes = _flow(model, params, buffers, masks)
    for kept_fraction in schedule(layout, sparsity, rounds):
        masks = one_shot(flows, layout, 1.0 - kept_fraction)
        flows = _flow(model, params, buffers, masks)
        lasted = {name: lasted[name] + masks[name] for name in layout.names}
        sizes = {name: jnp.where(masks[name], flows[name], sizes[name]) for name in layout.names}
    return by_survival(lasted, sizes, layout, num_kept)


def _to_unit_gain(weights: Array) -> Array:
    sums = jnp.sum(weights.reshape(-1, weights.shape[-1]), axis=0)
    return weights / jnp.maximum(jnp.mean(sums), jnp.finfo(jnp.float32).tiny)


@jax.jit
def _flow(model: Model, params: Params, buffers: Buffers, masks: Masks) -> Scores:
    """Flow through the weights that are left; 0 for the others."""
    ones = jnp.ones((1, *model.spec.input_shape))

    def total(params: Params) -> Array:
        return jnp.sum(model.apply(apply_masks(params, masks), buffers, ones))

    gradient = jax.grad(total)(params)
    return {name: (gradient[name] * params[name]).astype(jnp.float32) for name in masks}
