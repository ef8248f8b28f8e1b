"""Layers with PyTorch's settings where Flax's defaults differ.

Padding is given in pixels, because `SAME` pads strided convolutions differently; batch-norm
has epsilon 1e-5 and uses its stored statistics. Layers without weights are functions, so that
they can take their places among numbered ones.
"""

from collections.abc import Callable, Iterable
from functools import partial
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


def embedding(num_rows: int, num_channels: int, rngs: nnx.Rngs) -> nnx.Embed:
    """A table of vectors, in the type of its weights: Flax would keep that of the first ones."""
    layer = nnx.Embed(num_rows, num_channels, rngs=rngs)
    layer.dtype = None
    return layer


def layer_norm(num_channels: int, eps: float, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer normalisation; the variance is that of deviations, which cancels nothing out."""
    return nnx.LayerNorm(num_channels, epsilon=eps, use_fast_variance=False, rngs=rngs)


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

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": relu,
    "silu": jax.nn.silu,
}
"""By the names that Hugging Face's `config.json` gives them."""


def activation_faults(name: str) -> list[str]:
    """What is wrong with the name of an activation, one sentence."""
    if name in ACTIVATIONS:
        return []
    return [f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}."]


def head_faults(dim: int, num_heads: int) -> list[str]:
    """What is wrong with a number of attention heads, one sentence."""
    return [f"dim {dim} does not make {num_heads} heads."] if dim % num_heads else []
