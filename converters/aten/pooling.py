"""Pooling over the spatial axes of channels-first activations."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.converters.aten.convolution import per_axis
from jgaprune.converters.models.pooling import bins
from jgaprune.types import Array

Sizes = int | Sequence[int]


class _Windows(NamedTuple):
    """Windows along one axis; `spare` is beyond the padding, where ceil mode looks too."""

    size: int
    stride: int
    padding: int
    spare: int
    dilation: int = 1


def _windows(
    x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil: bool, axes: int
) -> list[_Windows]:
    sizes = per_axis(kernel, axes)
    strides = per_axis(stride, axes) if stride else sizes
    paddings, dilations = per_axis(padding, axes), per_axis(dilation, axes)
    found = zip(x.shape[-axes:], sizes, strides, paddings, dilations, strict=True)
    return [_Windows(k, s, p, _spare(n, k, s, p, d, ceil), d) for n, k, s, p, d in found]


def _spare(length: int, size: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    if not ceil:
        return 0
    beyond = length + 2 * padding - dilation * (size - 1) - 1
    num_steps = math.ceil(beyond / stride)
    if num_steps * stride >= length + padding:  # a window must start inside, or left of it
        num_steps -= 1
    return max(0, num_steps * stride - beyond)


def _reduced(x: Array, windows: list[_Windows], initial: Any, function: Any) -> Array:
    before = (1,) * (x.ndim - len(windows))
    return jax.lax.reduce_window(
        x,
        np.asarray(initial, x.dtype),  # an array of JAX would hide from it that it is a maximum
        function,
        window_dimensions=(*before, *(w.size for w in windows)),
        window_strides=(*before, *(w.stride for w in windows)),
        padding=[(0, 0)] * len(before) + [(w.padding, w.padding + w.spare) for w in windows],
        window_dilation=(*before, *(w.dilation for w in windows)),
    )


def _max_pool(
    axes: int,
    x: Array,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Array:
    windows = _windows(x, kernel, stride, padding, dilation, ceil_mode, axes)
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min
    return _reduced(x, windows, lowest, jax.lax.max)


def _average_pool(
    axes: int,
    x: Array,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Array:
    windows = _windows(x, kernel, stride, padding, 1, ceil_mode, axes)
    total = _reduced(x, windows, 0, jax.lax.add)
    if divisor:
        return total / divisor
    counted = np.ones(x.shape[-axes:], x.dtype)
    if count_include_pad:  # padding counts; what ceil mode adds beyond it does not
        counted = np.pad(counted, [(w.padding, w.padding) for w in windows], constant_values=1)
        windows = [w._replace(padding=0) for w in windows]
        spares = [(0, w.spare) for w in windows]
        counted = np.pad(counted, spares)
        windows = [w._replace(spare=0) for w in windows]
    return total / _reduced(jnp.asarray(counted), windows, 0, jax.lax.add)


def _adaptive(function: Callable[..., Array], axes: int, x: Array, sizes: Sizes) -> Array:
    for axis, size in zip(range(-axes, 0), per_axis(sizes, axes), strict=True):
        x = _adapted(function, x, axis % x.ndim, size)
    return x


def _adapted(function: Callable[..., Array], x: Array, axis: int, size: int) -> Array:
    length = x.shape[axis]
    if length % size == 0:
        split = (*x.shape[:axis], size, length // size, *x.shape[axis + 1 :])
        return function(x.reshape(split), axis=axis + 1)
    cuts = [jax.lax.slice_in_dim(x, start, end, axis=axis) for start, end in bins(length, size)]
    return jnp.concatenate([function(one, axis=axis, keepdims=True) for one in cuts], axis)


def _adaptive_max(axes: int, x: Array, sizes: Sizes) -> tuple[Array]:
    return (_adaptive(jnp.max, axes, x, sizes),)


def _with_indices(axes: int, *arguments: Any, **options: Any) -> tuple[Array]:
    return (_max_pool(axes, *arguments, **options),)


_FAMILIES: dict[str, Callable[..., Any]] = {
    "adaptive_avg_pool{}d": partial(_adaptive, jnp.mean),
    "adaptive_max_pool{}d": _adaptive_max,
    "avg_pool{}d": _average_pool,
    "max_pool{}d": _max_pool,
    "max_pool{}d_with_indices": _with_indices,
}
"""By name with a place for the number of spatial axes, which the function takes first."""


OPERATORS: dict[str, Callable[..., Any]] = {
    **{
        f"{name.format(axes)}.default": partial(function, axes)
        for name, function in _FAMILIES.items()
        for axes in (1, 2, 3)
    },
    "_adaptive_avg_pool2d.default": partial(_adaptive, jnp.mean, 2),
    "_adaptive_avg_pool3d.default": partial(_adaptive, jnp.mean, 3),
}
