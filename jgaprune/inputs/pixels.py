"""What is known of images before anything is known of them: their range, and that they are smooth.

Shared by the ways to synthesise inputs.
"""

import jax
import jax.numpy as jnp

from jgaprune.model import ModelSpec
from jgaprune.types import Array, Key


def roughness(inputs: Array, spec: ModelSpec) -> Array:
    """Mean squared difference between neighbours along the spatial axes, in units of one input."""
    axes = spec.spatial_axes
    return sum((jnp.mean(jnp.square(jnp.diff(inputs, axis=axis))) for axis in axes), jnp.float32(0))


def roll(key: Key, inputs: Array, max_roll: int, spec: ModelSpec) -> Array:
    """The same random shift along the spatial axes for all inputs."""
    axes = spec.spatial_axes
    if not axes or not max_roll:
        return inputs
    return jnp.roll(inputs, jax.random.randint(key, (len(axes),), -max_roll, max_roll + 1), axes)


def smooth_noise(key: Key, num_inputs: int, spec: ModelSpec) -> Array:
    """Standard normal noise, blurred along the spatial axes and scaled back to unit variance."""
    noise = jax.random.normal(key, (num_inputs, *spec.input_shape))
    for axis in spec.spatial_axes:
        noise = noise + jnp.roll(noise, 1, axis) + jnp.roll(noise, -1, axis)
    return noise / jnp.std(noise)


def pixel_range(spec: ModelSpec, unknown: float | None = None) -> tuple[Array, Array]:
    """Smallest and largest value that uint8 images can take once preprocessed, per channel.

    Args:
      spec: of the model.
      unknown: largest absolute value where there is neither a mean nor a deviation, which may
        mean that nothing is known of the preprocessing; by default it is believed.

    Returns:
      Two arrays that broadcast against inputs `[N, ...]`.
    """
    plan = spec.preprocessing
    if unknown is not None and not (plan.mean or plan.std):
        return jnp.float32(-unknown), jnp.float32(unknown)
    behind = (1,) * (len(spec.input_shape) - 1 - spec.channel_axis % len(spec.input_shape))
    mean = jnp.array(plan.mean or (0.0,)).reshape(-1, *behind)
    std = jnp.array(plan.std or (1.0,)).reshape(-1, *behind)
    return -mean / std, (255.0 / plan.scale - mean) / std
