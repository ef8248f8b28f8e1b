"""Random variations of model inputs: mixed, mirrored, shifted.

A few hundred inputs are soon known by heart. What the dense network says of a variation of them
is as good a target as what it says of themselves, so every step of a training can have its own.

Mixing: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jgaprune.model import ModelSpec
from jgaprune.types import Array, Key

_CONCENTRATION = 0.5
"""Of the beta distribution of shares: most mixtures are near one of their two inputs."""
_MAX_SHIFT = 1 / 8
"""Largest shift along a spatial axis, as a share of its length."""


def variation_of(spec: ModelSpec) -> Callable[[Key, Array], Array]:
    """`vary` for inputs laid out as those of the model; the same function for equal layouts."""
    channels_first = spec.channel_axis == 0 and len(spec.input_shape) > 1
    return _vary_channels_first if channels_first else vary


def vary(key: Key, inputs: Array) -> Array:
    """A random variation of every input.

    Images are mirrored, each with a chance of one half, and rolled by up to an eighth of their
    size; then every input becomes a random mixture with another one. Windows of tokens go on as
    another one from a random place on.

    Args:
      key: PRNG key.
      inputs: `[N, features]`, or `[N, ..., channels]` with spatial axes in between; or tokens,
        `int32 [N, L]`.

    Returns:
      Like `inputs`.
    """
    if jnp.issubdtype(inputs.dtype, jnp.integer):
        return _spliced(key, inputs)
    mirror_key, shift_key, mix_key = jax.random.split(key, 3)
    if inputs.ndim == 4:
        inputs = _mirrored(mirror_key, inputs)
    return _mixed(mix_key, _shifted(shift_key, inputs))


def _vary_channels_first(key: Key, inputs: Array) -> Array:
    return jnp.moveaxis(vary(key, jnp.moveaxis(inputs, 1, -1)), -1, 1)


def _spliced(key: Key, tokens: Array) -> Array:
    place_key, partner_key = jax.random.split(key)
    num, length = tokens.shape
    places = jax.random.randint(place_key, (num, 1), 1, length + 1)
    others = jax.random.permutation(partner_key, tokens)
    return jnp.where(jnp.arange(length) < places, tokens, others)


def _mirrored(key: Key, images: Array) -> Array:
    turned = jax.random.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
    return jnp.where(turned, images[:, :, ::-1], images)


def _shifted(key: Key, inputs: Array) -> Array:
    axes = tuple(range(inputs.ndim - 2))
    if not axes:
        return inputs
    most = jnp.array([round(_MAX_SHIFT * inputs.shape[axis + 1]) for axis in axes])
    shifts = jax.random.randint(key, (inputs.shape[0], len(axes)), -most, most + 1)
    return jax.vmap(lambda one, by: jnp.roll(one, by, axes))(inputs, shifts)


def _mixed(key: Key, inputs: Array) -> Array:
    share_key, partner_key = jax.random.split(key)
    shape = (inputs.shape[0], *(1 for _ in inputs.shape[1:]))
    share = jax.random.beta(share_key, _CONCENTRATION, _CONCENTRATION, shape)
    return share * inputs + (1.0 - share) * jax.random.permutation(partner_key, inputs)
