"""Interpolation of images `[N, C, H, W]`, with torch's rule for where pixels lie."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jgaprune.types import Array


def _sizes(
    x: Array, size: Sequence[int] | None, factors: Sequence[float] | None
) -> list[tuple[int, float]]:
    """New length of each spatial axis, and how much of the old one a new pixel is."""
    lengths = x.shape[2:]
    if size is not None:
        return [(new, old / new) for new, old in zip(size, lengths, strict=True)]
    scaled = zip(lengths, factors or (), strict=True)
    return [(int(old * factor), 1 / factor) for old, factor in scaled]


def _nearest(
    x: Array, size: Sequence[int] | None = None, factors: Sequence[float] | None = None
) -> Array:
    for axis, (length, step) in enumerate(_sizes(x, size, factors), start=2):
        places = jnp.floor(jnp.arange(length) * step).astype(jnp.int32)
        x = jnp.take(x, jnp.minimum(places, x.shape[axis] - 1), axis=axis)
    return x


def _bilinear(
    x: Array,
    size: Sequence[int] | None,
    align_corners: bool,
    factors: Sequence[float] | None = None,
) -> Array:
    for axis, (length, step) in enumerate(_sizes(x, size, factors), start=2):
        last = x.shape[axis] - 1
        if align_corners:
            places = jnp.arange(length) * (last / max(length - 1, 1))
        else:
            places = jnp.maximum((jnp.arange(length) + 0.5) * step - 0.5, 0.0)
        below = jnp.minimum(jnp.floor(places).astype(jnp.int32), last)
        share = (places - below).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
        above = jnp.minimum(below + 1, last)
        x = jnp.take(x, below, axis) * (1 - share) + jnp.take(x, above, axis) * share
    return x


OPERATORS: dict[str, Callable[..., Any]] = {
    "upsample_bilinear2d.vec": _bilinear,
    "upsample_nearest2d.vec": _nearest,
}
