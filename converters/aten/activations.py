"""Activation functions, as torch defines them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array


def _gelu(x: Array, approximate: str = "none") -> Array:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def _hardtanh(x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    return jnp.clip(x, low, high)


def _hardsigmoid(x: Array) -> Array:
    return jnp.clip(x + 3.0, 0.0, 6.0) / 6.0


def _hardswish(x: Array) -> Array:
    return x * _hardsigmoid(x)


def _leaky_relu(x: Array, slope: float = 0.01) -> Array:
    return jnp.where(x > 0, x, slope * x)


def _elu(x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    below = alpha * jnp.expm1(input_scale * jnp.where(x > 0, 0.0, x))
    return scale * jnp.where(x > 0, x, below)


def _softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    scaled = x * beta
    return jnp.where(scaled > threshold, x, jnp.logaddexp(scaled, 0.0) / beta)


def _softmax(x: Array, dim: int, *_: Any) -> Array:
    return jax.nn.softmax(x, axis=dim)


def _log_softmax(x: Array, dim: int, *_: Any) -> Array:
    return jax.nn.log_softmax(x, axis=dim)


OPERATORS: dict[str, Callable[..., Any]] = {
    "elu.default": _elu,
    "gelu.default": _gelu,
    "hardsigmoid.default": _hardsigmoid,
    "hardswish.default": _hardswish,
    "hardtanh.default": _hardtanh,
    "leaky_relu.default": _leaky_relu,
    "relu.default": jax.nn.relu,
    "sigmoid.default": jax.nn.sigmoid,
    "silu.default": jax.nn.silu,
    "softplus.default": _softplus,
    "softmax.int": _softmax,
    "_softmax.default": _softmax,
    "log_softmax.int": _log_softmax,
    "_log_softmax.default": _log_softmax,
}
