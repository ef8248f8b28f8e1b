"""Random inputs: the last resort for models that say nothing of their data."""

import jax

from jgaprune.model import ModelSpec
from jgaprune.types import Array, Key


def gaussian_noise(spec: ModelSpec, key: Key, num_inputs: int) -> Array:
    """Standard normal inputs `float32 [N, ...]`, the scale of normalised data.

    For models that take tokens, any of them alike: `int32 [N, L]`.
    """
    if spec.vocabulary is not None:
        return jax.random.randint(key, (num_inputs, *spec.input_shape), 0, spec.vocabulary)
    return jax.random.normal(key, (num_inputs, *spec.input_shape))
