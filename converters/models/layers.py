"""Layers with PyTorch's settings where Flax's defaults differ.

Padding is given in pixels, because `SAME` pads strided convolutions differently; batch-norm
has epsilon 1e-5 and uses its stored statistics.
"""

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
        use_bias=bias,
        rngs=rngs,
    )


def batch_norm(num_channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch normalisation in evaluation mode."""
    return nnx.BatchNorm(num_channels, epsilon=1e-5, use_running_average=True, rngs=rngs)


def max_pool(x: Array) -> Array:
    """Halves height and width of `[N, H, W, channels]`, dropping an odd last row or column."""
    return nnx.max_pool(x, window_shape=(2, 2), strides=(2, 2))


def flatten(x: Array) -> Array:
    """`[N, ...]` to `[N, features]`."""
    return x.reshape(x.shape[0], -1)


relu = jax.nn.relu
