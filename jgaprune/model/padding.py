"""Padding of token windows: where it stands, and how it is kept out of what is measured."""

import jax.numpy as jnp

from jgaprune.model.spec import PADDING, ModelSpec
from jgaprune.types import Array


def real_tokens(spec: ModelSpec, inputs: Array) -> Array | None:
    """Where inputs are no padding: `bool [N, L]`, or None where the model knows none."""
    return inputs != PADDING if spec.padding else None


def is_per_token(values: Array, real: Array | None) -> bool:
    """Whether values are those of tokens, `[N, L, ...]`."""
    return real is not None and values.ndim > 2 and values.shape[:2] == real.shape


def without_padding(values: Array, real: Array | None) -> Array:
    """Values `[N, L, ...]`, zero at padding; values of another kind as they are.

    Zeros drop out of sums over positions, such as Gram matrices.

    Args:
      values: what a network computes.
      real: as from `real_tokens`.

    >>> without_padding(jnp.ones((1, 2, 3)), jnp.array([[True, False]]))[0, :, 0].tolist()
    [1.0, 0.0]
    """
    if real is None or not is_per_token(values, real):
        return values
    places = real.reshape(*real.shape, *(1 for _ in values.shape[2:]))
    return jnp.where(places, values, jnp.zeros_like(values))


def mean_factor(values: Array, real: Array | None) -> Array | float:
    """What makes the mean over all of `without_padding`'s values that over the real ones."""
    if real is None or not is_per_token(values, real):
        return 1.0
    return real.size / jnp.sum(real)
