"""Average pooling to a given size, as PyTorch's `AdaptiveAvgPool2d`.

Bin `i` of `n` along an axis of size `s` reaches from `floor(i s / n)` to `ceil((i + 1) s / n)`:
bins overlap where `n` does not divide `s`, and repeat where it is smaller.
https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html
"""

import jax.numpy as jnp
from jax import lax

from jgaprune.types import Array


def adaptive_average_pool(x: Array, height: int, width: int) -> Array:
    """`[N, H, W, channels]` to `[N, height, width, channels]`."""
    return _pool_axis(_pool_axis(x, 1, height), 2, width)


def bins(size: int, num_bins: int) -> list[tuple[int, int]]:
    """First and last place, exclusive, of every bin.

    >>> bins(4, 3), bins(1, 2)
    ([(0, 2), (1, 3), (2, 4)], [(0, 1), (0, 1)])
    """
    return [
        (index * size // num_bins, -(-(index + 1) * size // num_bins)) for index in range(num_bins)
    ]


def _pool_axis(x: Array, axis: int, num_bins: int) -> Array:
    if x.shape[axis] == num_bins:
        return x
    means = [
        jnp.mean(lax.slice_in_dim(x, start, end, axis=axis), axis=axis, keepdims=True)
        for start, end in bins(x.shape[axis], num_bins)
    ]
    return jnp.concatenate(means, axis=axis)
