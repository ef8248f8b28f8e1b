"""Arrays out of nothing. Their dtype is the one that the program says, cast to afterwards."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jgaprune.types import Array


def _full(shape: Sequence[int], value: Any, dtype: str | None = None) -> Array:
    return jnp.full(tuple(shape), value)


def _full_like(x: Array, value: Any, dtype: str | None = None) -> Array:
    return jnp.full(x.shape, value)


def _empty(shape: Sequence[int], dtype: str | None = None) -> Array:
    return jnp.zeros(tuple(shape))


def _arange(start: Any, end: Any, step: Any = 1, dtype: str | None = None) -> Array:
    return jnp.arange(start, end, step)


def _scalar(value: Any, dtype: str | None = None) -> Array:
    return jnp.asarray(value)


def _eye(num_rows: int, num_columns: int | None = None, dtype: str | None = None) -> Array:
    return jnp.eye(num_rows, num_columns)


OPERATORS: dict[str, Callable[..., Any]] = {
    "arange.start_step": _arange,
    "empty.memory_format": _empty,
    "eye.default": _eye,
    "eye.m": _eye,
    "full.default": _full,
    "full_like.default": _full_like,
    "scalar_tensor.default": _scalar,
}
