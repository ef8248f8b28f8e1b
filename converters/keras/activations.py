"""Keras's activations by their names, in JAX."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jgaprune.types import Array

Activation = Callable[[Array], Array]


def _linear(x: Array) -> Array:
    return x


ACTIVATIONS: dict[str, Activation] = {
    "linear": _linear,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": partial(jax.nn.leaky_relu, negative_slope=0.2),
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "exponential": jnp.exp,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "softmax": jax.nn.softmax,
}
"""Those that Keras 2 and 3 compute alike; `hard_sigmoid` is not among them."""


def clipped_relu(x: Array, slope: float, threshold: float, largest: float | None) -> Array:
    """Keras's `ReLU` layer: linear from `threshold` to `largest`, `slope` times below."""
    below = slope * (x - threshold)
    above = x if largest is None else jnp.minimum(x, largest)
    return jnp.where(x >= threshold, above, below)
