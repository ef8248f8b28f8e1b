"""Layers with PyTorch's settings where Flax's defaults differ.

Padding is given in pixels, because `SAME` pads strided convolutions differently; batch-norm
has epsilon 1e-5 and uses its stored statistics. Layers without weights are functions, so that
they can take their places among numbered ones.
"""

from collections.abc import Iterable
from typing import Any

import jax
from flax import nnx

from jgaprune.types import Array


def conv(
    num_in: int,
    num_out: int,
    size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    bias: bool = False,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A square convolution, padded by `padding` pixels on each side."""
    return nnx.Conv(
        num_in,
        num_out,
        (size, size),
        strides=stride,
        padding=padding,
        feature_group_count=groups,
        use_bias=bias,
        rngs=rngs,
    )


def batch_norm(num_channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch normalisation in evaluation mode."""
    return nnx.BatchNorm(num_channels, epsilon=1e-5, use_running_average=True, rngs=rngs)


def max_pool(x: Array) -> Array:
    """Halves height and width of `[N, H, W, channels]`, dropping an odd last row or column."""
    return nnx.max_pool(x, window_shape=(2, 2), strides=(2, 2))


def through(layers: Iterable[Any], x: Array) -> Array:
    """One layer after another; a list among them is passed through likewise."""
    for layer in layers:
        x = through(layer, x) if isinstance(layer, nnx.List) else layer(x)
    return x


def dropout(x: Array) -> Array:
    """What dropout is in evaluation mode: it only takes a place among numbered layers."""
    return x


def flatten(x: Array) -> Array:
    """`[N, ...]` to `[N, features]`."""
    return x.reshape(x.shape[0], -1)


relu = jax.nn.relu
relu6 = jax.nn.relu6
