"""Views: reshaping, ordering, joining and cutting, without arithmetic."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array


def _reshape(x: Array, shape: Sequence[int]) -> Array:
    return x.reshape(tuple(shape))


def _permute(x: Array, axes: Sequence[int]) -> Array:
    return x.transpose(tuple(axes))


def _unsqueeze(x: Array, dim: int) -> Array:
    return jnp.expand_dims(x, dim)


def _squeeze(x: Array, dims: int | Sequence[int] | None = None) -> Array:
    """Axes of other sizes than 1 stay, as in torch."""
    dims = range(x.ndim) if dims is None else (dims,) if isinstance(dims, int) else dims
    return jnp.squeeze(x, tuple(dim % x.ndim for dim in dims if x.shape[dim] == 1))


def _expand(x: Array, sizes: Sequence[int], implicit: bool = False) -> Array:
    old = (1,) * (len(sizes) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [o if n == -1 else n for n, o in zip(sizes, old, strict=True)])


def _repeat(x: Array, repeats: Sequence[int]) -> Array:
    return jnp.tile(x, tuple(repeats))


def _cat(arrays: Sequence[Array], dim: int = 0) -> Array:
    """Joins arrays; those of shape `[0]` count for nothing, as in torch."""
    most = max(x.ndim for x in arrays)
    return jnp.concatenate([x for x in arrays if x.ndim == most], axis=dim)


def _stack(arrays: Sequence[Array], dim: int = 0) -> Array:
    return jnp.stack(arrays, axis=dim)


def _split_with_sizes(x: Array, sizes: Sequence[int], dim: int = 0) -> tuple[Array, ...]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    cuts = zip(starts, sizes, strict=True)
    return tuple(jax.lax.slice_in_dim(x, at, at + n, axis=dim % x.ndim) for at, n in cuts)


def _split(x: Array, size: int, dim: int = 0) -> tuple[Array, ...]:
    length = x.shape[dim]
    return _split_with_sizes(x, [min(size, length - at) for at in range(0, length, size)], dim)


def _unbind(x: Array, dim: int = 0) -> tuple[Array, ...]:
    return tuple(_select(x, dim, place) for place in range(x.shape[dim]))


def cut(x: Array, dim: int, start: int | None, end: int | None, step: int) -> slice:
    """A slice as torch means it: bounds beyond the ends are the ends."""
    return slice(*slice(start, end).indices(x.shape[dim])[:2], step)


def _slice(
    x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    part = cut(x, dim, start, end, step)
    stop = max(part.start, part.stop)
    return jax.lax.slice_in_dim(x, part.start, stop, step, axis=dim % x.ndim)


def _select(x: Array, dim: int, index: int) -> Array:
    return jax.lax.index_in_dim(x, index, dim % x.ndim, keepdims=False)


def _flip(x: Array, dims: Sequence[int]) -> Array:
    return jnp.flip(x, tuple(dims))


def _roll(x: Array, shifts: Sequence[int], dims: Sequence[int] = ()) -> Array:
    return jnp.roll(x, tuple(shifts), tuple(dims)) if dims else jnp.roll(x, shifts[0])


def _triangle(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, diagonal=0: function(x, diagonal)


def _diagonal(x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    return jnp.diagonal(x, offset, dim1, dim2)


def _pixel_shuffle(x: Array, factor: int) -> Array:
    *rest, channels, height, width = x.shape
    x = x.reshape(*rest, channels // factor**2, factor, factor, height, width)
    x = jnp.moveaxis(x, (-4, -3), (-3, -1))
    return x.reshape(*rest, channels // factor**2, height * factor, width * factor)


def _pixel_unshuffle(x: Array, factor: int) -> Array:
    *rest, channels, height, width = x.shape
    x = x.reshape(*rest, channels, height // factor, factor, width // factor, factor)
    x = jnp.moveaxis(x, (-3, -1), (-4, -3))
    return x.reshape(*rest, channels * factor**2, height // factor, width // factor)


OPERATORS: dict[str, Callable[..., Any]] = {
    "cat.default": _cat,
    "diagonal.default": _diagonal,
    "expand.default": _expand,
    "flip.default": _flip,
    "permute.default": _permute,
    "pixel_shuffle.default": _pixel_shuffle,
    "pixel_unshuffle.default": _pixel_unshuffle,
    "repeat.default": _repeat,
    "reshape.default": _reshape,
    "roll.default": _roll,
    "select.int": _select,
    "slice.Tensor": _slice,
    "split.Tensor": _split,
    "split_with_sizes.default": _split_with_sizes,
    "squeeze.default": _squeeze,
    "squeeze.dim": _squeeze,
    "squeeze.dims": _squeeze,
    "stack.default": _stack,
    "t.default": jnp.transpose,
    "transpose.int": jnp.swapaxes,
    "tril.default": _triangle(jnp.tril),
    "triu.default": _triangle(jnp.triu),
    "unbind.int": _unbind,
    "unsqueeze.default": _unsqueeze,
    "view.default": _reshape,
    "_unsafe_view.default": _reshape,
}
