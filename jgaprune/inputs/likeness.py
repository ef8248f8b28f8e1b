"""How unlike the training data inputs are, by what a network's batch-norm layers have stored.

On a CIFAR-10 ResNet-20 and -32 and the digits network, means over the layers are 0.02 to 0.08 on
256 test images, 0.03 to 0.18 on eight of them, 0.36 to 0.53 on images that are not normalised, and
0.57 to 0.98 on noise. Images of one class alone may be as far: 0.32 to 0.43 on the digits. Images
of another data set may be near: 0.09 to 0.18 (`benchmarks/likeness.py`).
"""

import jax
import jax.numpy as jnp

from jgaprune.model import Model
from jgaprune.model.forward import keep_stored
from jgaprune.types import Array, NormRecord

UNLIKE = 0.25
"""From where inputs are unlike the training data."""
_ENOUGH = 256


def mismatch(records: dict[str, NormRecord]) -> Array:
    """Squared distance of means and deviations, in stored deviations, summed over layers."""
    total = jnp.float32(0)
    for batch, stored in records.values():
        var = stored.var + 1e-6
        mean_error = jnp.square(batch.mean - stored.mean) / var
        deviation_error = jnp.square(jnp.sqrt(batch.var / var + 1e-6) - 1.0)
        total += jnp.mean(mean_error + deviation_error)
    return total


def unlikeness(model: Model, inputs: Array) -> float | None:
    """Mean of the mismatch over the batch-norm layers, on 256 inputs at most.

    Args:
      model: the dense network.
      inputs: model inputs `[N, ...]`.

    Returns:
      None where the network shows no batch-norm layers.
    """
    if not model.shows_norms:
        return None
    return float(_unlikeness(model, inputs[:_ENOUGH]))


@jax.jit
def _unlikeness(model: Model, inputs: Array) -> Array:
    _, records = model.observe(model.params, model.buffers, inputs, keep_stored)  # type: ignore[misc]
    return mismatch(records) / len(records)
