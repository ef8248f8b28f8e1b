"""Looking up and replacing elements by their places."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jgaprune.converters.aten.shapes import cut
from jgaprune.types import Array

Indices = Sequence[Array | None]


def _key(indices: Indices) -> tuple[Any, ...]:
    return tuple(slice(None) if index is None else index for index in indices)


def _index(x: Array, indices: Indices) -> Array:
    return x[_key(indices)]


def _index_put(x: Array, indices: Indices, values: Array, accumulate: bool = False) -> Array:
    place = x.at[_key(indices)]
    return place.add(values) if accumulate else place.set(values)


def _index_select(x: Array, dim: int, index: Array) -> Array:
    return jnp.take(x, index, axis=dim)


def _gather(x: Array, dim: int, index: Array, sparse_grad: bool = False) -> Array:
    if x.ndim == 0:
        return x
    return x[_along(index, dim)]


def _scatter(x: Array, dim: int, index: Array, values: Any) -> Array:
    values = jnp.asarray(values, x.dtype)
    if values.ndim:  # torch takes the leading part of a larger source
        values = values[tuple(slice(size) for size in index.shape)]
    return x.at[_along(index, dim)].set(values)


def _scatter_add(x: Array, dim: int, index: Array, values: Array) -> Array:
    values = values[tuple(slice(size) for size in index.shape)]
    return x.at[_along(index, dim)].add(values)


def _along(index: Array, dim: int) -> tuple[Array, ...]:
    """The full place of every element that `index` names along one axis."""
    places = list(jnp.indices(index.shape, sparse=True))
    places[dim] = index
    return tuple(places)


def _embedding(table: Array, tokens: Array, *_: Any) -> Array:
    """Rows of a table; NaN where a token is none, which torch refuses."""
    return jnp.take(table, tokens, axis=0)


def _slice_scatter(
    x: Array,
    values: Array,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Array:
    return _at(x, dim, cut(x, dim, start, end, step)).set(values)


def _select_scatter(x: Array, values: Array, dim: int, index: int) -> Array:
    return _at(x, dim, index).set(values)


def _at(x: Array, dim: int, place: Any) -> Any:
    return x.at[(slice(None),) * (dim % x.ndim) + (place,)]


OPERATORS: dict[str, Callable[..., Any]] = {
    "embedding.default": _embedding,
    "gather.default": _gather,
    "index.Tensor": _index,
    "index_put.default": _index_put,
    "index_select.default": _index_select,
    "scatter.src": _scatter,
    "scatter.value": _scatter,
    "scatter_add.default": _scatter_add,
    "select_scatter.default": _select_scatter,
    "slice_scatter.default": _slice_scatter,
}
