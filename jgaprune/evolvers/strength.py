"""Mutation strengths: bounds that the caller gave or the space has, and draws between them."""

import jax
import jax.numpy as jnp

from jgaprune.types import Array, Key

_LEARNING_RATE = 0.5
"""Standard deviation of the change, in log units, from a strength to that of a child."""


def strength_fault(bounds: tuple[float, float]) -> str | None:
    """What is wrong with bounds of a mutation strength, or None."""
    low, high = bounds
    return None if 0 < low <= high <= 1 else f"strength must rise within 0..1, got {(low, high)}"


def log_uniform(key: Key, bounds: tuple[float, float], num: int) -> Array:
    """`num` strengths between two bounds, so that coarse and fine ones are drawn alike."""
    low, high = jnp.log(jnp.array(bounds))
    return jnp.exp(jax.random.uniform(key, (num,), minval=low, maxval=high))


def inherited(key: Key, bounds: tuple[float, float], of_parents: Array) -> Array:
    """Strengths `[P]` around the geometric mean of both parents' `[2, P]`, within the bounds."""
    logs = jnp.mean(jnp.log(of_parents), axis=0)
    logs += _LEARNING_RATE * jax.random.normal(key, logs.shape)
    return jnp.clip(jnp.exp(logs), *bounds)
