"""What is known of images before anything is known of them: their range, and that they are smooth.

Shared by the ways to synthesise inputs.
"""

import jax
import jax.numpy as jnp

from jgaprune.model import Preprocessing
from jgaprune.types import Array, Key


def roughness(inputs: Array) -> Array:
    """Mean squared difference between neighbours along the spatial axes, in units of one input."""
    axes = range(1, inputs.ndim - 1)
    return sum((jnp.mean(jnp.square(jnp.diff(inputs, axis=axis))) for axis in axes), jnp.float32(0))


def roll(key: Key, inputs: Array, max_roll: int) -> Array:
    """The same random shift along the spatial axes for all inputs."""
    axes = tuple(range(1, inputs.ndim - 1))
    if not axes or not max_roll:
        return inputs
    return jnp.roll(inputs, jax.random.randint(key, (len(axes),), -max_roll, max_roll + 1), axes)


def smooth_noise(key: Key, shape: tuple[int, ...]) -> Array:
    """Standard normal noise, blurred along the spatial axes and scaled back to unit variance."""
    noise = jax.random.normal(key, shape)
    for axis in range(1, len(shape) - 1):
        noise = noise + jnp.roll(noise, 1, axis) + jnp.roll(noise, -1, axis)
    return noise / jnp.std(noise)


def pixel_range(preprocessing: Preprocessing, unknown: float | None = None) -> tuple[Array, Array]:
    """Smallest and largest value that uint8 images can take once preprocessed, per channel.

    Args:
      preprocessing: of the model.
      unknown: largest absolute value where there is neither a mean nor a deviation, which may
        mean that nothing is known of the preprocessing; by default it is believed.
    """
    if unknown is not None and not (preprocessing.mean or preprocessing.std):
        return jnp.float32(-unknown), jnp.float32(unknown)
    mean = jnp.array(preprocessing.mean or (0.0,))
    std = jnp.array(preprocessing.std or (1.0,))
    return -mean / std, (255.0 / preprocessing.scale - mean) / std
