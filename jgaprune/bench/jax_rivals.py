"""What a user of JAX would write instead: `vmap` over masked weights, and nothing else."""

import jax
import jax.numpy as jnp

from jgaprune.bench.timing import Runner
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.types import Array, Masks


def plain_vmap(model: Model, inputs: Array, masks: Masks) -> Runner:
    """Predicts classes for all candidates in one `vmap` of the unchanged model.

    Args:
      model: the dense model.
      inputs: `[N, ...]`.
      masks: boolean, with leading axis `P`.

    Returns:
      A runner that returns predictions `int32 [P, N]`.
    """

    @jax.jit
    def predict(model: Model, inputs: Array, masks: Masks) -> Array:
        def one(masks: Masks) -> Array:
            logits = model.apply(apply_masks(model.params, masks), model.buffers, inputs)
            return jnp.argmax(logits, axis=-1)

        return jax.vmap(one)(masks)

    compiled = predict.lower(model, inputs, masks).compile()
    return lambda: jax.block_until_ready(compiled(model, inputs, masks))


def pure_inference(model: Model, inputs: Array, population: int) -> Runner:
    """The dense network on the same total batch, `P * N` inputs, without any mask."""

    @jax.jit
    def predict(model: Model, inputs: Array) -> Array:
        return jnp.argmax(model.apply(model.params, model.buffers, inputs), axis=-1)

    batch = jnp.tile(inputs, (population, *(1 for _ in inputs.shape[1:])))
    compiled = predict.lower(model, batch).compile()
    return lambda: jax.block_until_ready(compiled(model, batch))
