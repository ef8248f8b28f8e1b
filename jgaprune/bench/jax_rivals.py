"""What a user of JAX would write instead: `vmap` over masked weights, and nothing else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.bench.timing import Runner
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.ops import lowered_rules, rewrite
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

    def predict(model: Model, inputs: Array, masks: Masks) -> Array:
        def one(masks: Masks) -> Array:
            logits = model.apply(apply_masks(model.params, masks), model.buffers, inputs)
            return jnp.argmax(logits, axis=-1)

        return jax.vmap(one)(masks)

    return _runner(predict, model, inputs, masks)


def pure_inference(
    model: Model, inputs: Array, population: int, dtype: str = "float32"
) -> dict[str, Runner]:
    """The dense network on as many inputs as the population sees, without any mask.

    Args:
      model: the dense model.
      inputs: `[N, ...]`.
      population: `P`.
      dtype: of the operands of matrix products and convolutions.

    Returns:
      "pure_inference_at_once", all `P * N` inputs in one batch, and
      "pure_inference_batch_by_batch", `P` batches of `N`.
    """
    lower = lowered_rules(dtype)

    def predict(model: Model, inputs: Array) -> Array:
        return jnp.argmax(rewrite(model.apply, lower)(model.params, model.buffers, inputs), axis=-1)

    def predict_each(model: Model, batches: Array) -> Array:
        return jax.lax.map(lambda batch: predict(model, batch), batches)

    batches = jnp.broadcast_to(inputs, (population, *inputs.shape))
    joined = batches.reshape(-1, *inputs.shape[1:])
    return {
        "pure_inference_at_once": _runner(predict, model, joined),
        "pure_inference_batch_by_batch": _runner(predict_each, model, batches),
    }


def _runner(function: Callable[..., Array], *arguments: Any) -> Runner:
    compiled = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))
