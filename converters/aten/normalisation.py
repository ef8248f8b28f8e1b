"""Normalisation layers, in evaluation mode."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array

BATCH_NORM = "_native_batch_norm_legit_no_training.default"
"""Batch normalisation with stored statistics: the only one that an evaluating module has."""


def _batch_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    momentum: float,
    epsilon: float,
) -> tuple[Array]:
    """`x [N, C, ...]`; multiplied as Flax does, in which the gains of a network can be found."""
    shape = (-1, *(1,) * (x.ndim - 2))
    factor = jax.lax.rsqrt(var.reshape(shape) + epsilon)
    if scale is not None:
        factor = factor * scale.reshape(shape)
    y = (x - mean.reshape(shape)) * factor
    return (y if bias is None else y + bias.reshape(shape),)


def _layer_norm(
    x: Array,
    shape: Sequence[int],
    scale: Array | None = None,
    bias: Array | None = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> Array:
    axes = tuple(range(-len(shape), 0))
    return _affine(_standardised(x, axes, epsilon), scale, bias)


def _rms_norm(
    x: Array, shape: Sequence[int], scale: Array | None = None, epsilon: float | None = None
) -> Array:
    axes = tuple(range(-len(shape), 0))
    epsilon = float(jnp.finfo(x.dtype).eps) if epsilon is None else epsilon
    square = jnp.mean(jnp.square(x), axes, keepdims=True)
    return _affine(x * jax.lax.rsqrt(square + epsilon), scale, None)


def _group_norm(
    x: Array,
    groups: int,
    scale: Array | None = None,
    bias: Array | None = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> Array:
    num_inputs, channels, *rest = x.shape
    grouped = x.reshape(num_inputs, groups, channels // groups * math.prod(rest))
    y = _standardised(grouped, (-1,), epsilon).reshape(x.shape)
    shape = (-1, *(1,) * len(rest))
    return _affine(
        y,
        None if scale is None else scale.reshape(shape),
        None if bias is None else bias.reshape(shape),
    )


def _instance_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array | None,
    var: Array | None,
    use_input_statistics: bool,
    momentum: float,
    epsilon: float,
    *_: Any,
) -> Array:
    if use_input_statistics or mean is None or var is None:
        return _group_norm(x, x.shape[1], scale, bias, epsilon)
    return _batch_norm(x, scale, bias, mean, var, momentum, epsilon)[0]


def _standardised(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    mean = jnp.mean(x, axes, keepdims=True)
    var = jnp.mean(jnp.square(x - mean), axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + epsilon)


def _affine(y: Array, scale: Array | None, bias: Array | None) -> Array:
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


OPERATORS: dict[str, Callable[..., Any]] = {
    BATCH_NORM: _batch_norm,
    "group_norm.default": _group_norm,
    "instance_norm.default": _instance_norm,
    "layer_norm.default": _layer_norm,
    "rms_norm.default": _rms_norm,
}
