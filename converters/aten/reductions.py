"""Reductions over axes, and what orders or accumulates along one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array

Axes = int | Sequence[int] | None


def _axes(dim: Axes) -> tuple[int, ...] | None:
    """In ATen, no axes are all axes."""
    if dim is None or isinstance(dim, int):
        return dim if dim is None else (dim,)
    return tuple(dim) or None


def _over(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduced(x: Array, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
        return function(x, axis=_axes(dim), keepdims=keepdim)

    return reduced


def _whole(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, dtype=None: function(x)


def _variance(
    x: Array, dim: Axes = None, correction: float | None = None, keepdim: bool = False
) -> Array:
    axes = _axes(dim)
    squares = jnp.square(x - jnp.mean(x, axes, keepdims=True))
    count = x.size if axes is None else math.prod(x.shape[axis] for axis in axes)
    freedom = max(0, count - (1 if correction is None else correction))
    return jnp.sum(squares, axes, keepdims=keepdim) / freedom


def _variance_and_mean(
    x: Array, dim: Axes = None, correction: float | None = None, keepdim: bool = False
) -> tuple[Array, Array]:
    var = _variance(x, dim, correction, keepdim)
    return var, jnp.mean(x, axis=_axes(dim), keepdims=keepdim)


def _extreme(value: Callable[..., Array], place: Callable[..., Array]) -> Callable[..., Any]:
    def both(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
        return value(x, axis=dim, keepdims=keepdim), place(x, axis=dim, keepdims=keepdim)

    return both


def _place(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, dim=None, keepdim=False: function(x, axis=dim, keepdims=keepdim)


def _norm(
    x: Array, order: float = 2, dim: Axes = None, keepdim: bool = False, dtype: Any = None
) -> Array:
    axes = _axes(dim)
    if order == 2:
        return jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=keepdim))
    if abs(order) == float("inf"):
        extreme = jnp.max if order > 0 else jnp.min
        return extreme(jnp.abs(x), axes, keepdims=keepdim)
    if order == 0:
        return jnp.sum(x != 0, axes, keepdims=keepdim)
    return jnp.sum(jnp.abs(x) ** order, axes, keepdims=keepdim) ** (1 / order)


def _log_sum_exp(x: Array, dim: Axes, keepdim: bool = False) -> Array:
    return jax.nn.logsumexp(x, axis=_axes(dim), keepdims=keepdim)


def _topk(
    x: Array, k: int, dim: int = -1, largest: bool = True, ordered: bool = True
) -> tuple[Array, Array]:
    last = jnp.moveaxis(x, dim, -1)
    # The smallest integer has no negative.
    turned = jnp.invert if jnp.issubdtype(x.dtype, jnp.integer) else jnp.negative
    values, places = jax.lax.top_k(last if largest else turned(last), k)
    values = values if largest else turned(values)
    return jnp.moveaxis(values, -1, dim), jnp.moveaxis(places, -1, dim)


def _sort(x: Array, dim: int = -1, descending: bool = False) -> tuple[Array, Array]:
    places = jnp.argsort(x, axis=dim, descending=descending, stable=True)
    return jnp.take_along_axis(x, places, axis=dim), places


def _cumulative(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, dim, dtype=None: function(x, axis=dim)


OPERATORS: dict[str, Callable[..., Any]] = {
    "all.default": _whole(jnp.all),
    "all.dim": _over(jnp.all),
    "all.dims": _over(jnp.all),
    "amax.default": _over(jnp.max),
    "amin.default": _over(jnp.min),
    "any.default": _whole(jnp.any),
    "any.dim": _over(jnp.any),
    "any.dims": _over(jnp.any),
    "argmax.default": _place(jnp.argmax),
    "argmin.default": _place(jnp.argmin),
    "cumprod.default": _cumulative(jnp.cumprod),
    "cumsum.default": _cumulative(jnp.cumsum),
    "linalg_vector_norm.default": _norm,
    "logsumexp.default": _log_sum_exp,
    "max.default": _whole(jnp.max),
    "max.dim": _extreme(jnp.max, jnp.argmax),
    "mean.default": _whole(jnp.mean),
    "mean.dim": _over(jnp.mean),
    "min.default": _whole(jnp.min),
    "min.dim": _extreme(jnp.min, jnp.argmin),
    "prod.default": _whole(jnp.prod),
    "prod.dim_int": _over(jnp.prod),
    "sort.default": _sort,
    "sum.default": _whole(jnp.sum),
    "sum.dim_IntList": _over(jnp.sum),
    "topk.default": _topk,
    "var.correction": _variance,
    "var_mean.correction": _variance_and_mean,
}
