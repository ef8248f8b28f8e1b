"""Arithmetic, comparisons and choices, element by element."""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array


def _scaled(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """`function(x, alpha * y)`."""

    def scaled(x: Any, y: Any, alpha: float = 1) -> Any:
        return function(x, y if alpha == 1 else alpha * y)

    return scaled


def _divide(x: Array, y: Any, rounding_mode: str | None = None) -> Array:
    if rounding_mode == "floor":
        return jnp.floor_divide(x, y)
    if rounding_mode == "trunc":
        dtype = jnp.result_type(x, y)
        if jnp.issubdtype(dtype, jnp.integer):  # which floats would round
            both = jnp.broadcast_arrays(jnp.asarray(x, dtype), jnp.asarray(y, dtype))
            return jax.lax.div(*both)
        return jnp.trunc(x / y)
    return jnp.true_divide(x, y)


def _clamp(x: Array, low: Any = None, high: Any = None) -> Array:
    return jnp.clip(x, low, high)


def _power(x: Any, exponent: Any) -> Array:
    if isinstance(exponent, float) and exponent.is_integer():
        exponent = int(exponent)
    return jnp.power(x, exponent)


def _round(x: Array, decimals: int = 0) -> Array:
    return jnp.round(x, decimals)


def _unchanged(x: Array, *_: Any) -> Array:
    return x


def _cast(x: Array, dtype: str | None = None) -> Array:
    """The interpreter casts every result to the dtype that the program says."""
    return x if dtype is None else x.astype(jax.dtypes.canonicalize_dtype(dtype))


def _copy(x: Array, source: Array, *_: Any) -> Array:
    return jnp.broadcast_to(source, x.shape).astype(x.dtype)


_UNARY: dict[str, Callable[..., Any]] = {
    "abs": jnp.abs,
    "acos": jnp.arccos,
    "acosh": jnp.arccosh,
    "asin": jnp.arcsin,
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atanh": jnp.arctanh,
    "bitwise_not": jnp.invert,
    "ceil": jnp.ceil,
    "cos": jnp.cos,
    "cosh": jnp.cosh,
    "erf": jax.scipy.special.erf,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "isfinite": jnp.isfinite,
    "isinf": jnp.isinf,
    "isnan": jnp.isnan,
    "log": jnp.log,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "log2": jnp.log2,
    "logical_not": jnp.logical_not,
    "neg": jnp.negative,
    "reciprocal": jnp.reciprocal,
    "round": _round,
    "rsqrt": jax.lax.rsqrt,
    "sign": jnp.sign,
    "sin": jnp.sin,
    "sinh": jnp.sinh,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "trunc": jnp.trunc,
    "alias": _unchanged,
    "clone": _unchanged,
    "detach": _unchanged,
    "lift_fresh_copy": _unchanged,
    "_to_copy": _cast,
}
_WITH_ALPHA: dict[str, Callable[[Any, Any], Any]] = {"add": operator.add, "sub": operator.sub}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "bitwise_and": jnp.bitwise_and,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_xor": jnp.bitwise_xor,
    "div": _divide,
    "eq": jnp.equal,
    "fmod": jnp.fmod,
    "ge": jnp.greater_equal,
    "gt": jnp.greater,
    "le": jnp.less_equal,
    "lt": jnp.less,
    "mul": jnp.multiply,
    "ne": jnp.not_equal,
    "remainder": jnp.remainder,
}

OPERATORS: dict[str, Callable[..., Any]] = {
    **{f"{name}.default": function for name, function in _UNARY.items()},
    **{
        f"{name}.{overload}": _scaled(function)
        for name, function in _WITH_ALPHA.items()
        for overload in ("Tensor", "Scalar")
    },
    **{
        f"{name}.{overload}": function
        for name, function in _BINARY.items()
        for overload in ("Tensor", "Scalar")
    },
    "atan2.default": jnp.arctan2,
    "clamp.default": _clamp,
    "clamp.Tensor": _clamp,
    "copy.default": _copy,
    "div.Tensor_mode": _divide,
    "div.Scalar_mode": _divide,
    "floor_divide.default": jnp.floor_divide,
    "logical_and.default": jnp.logical_and,
    "logical_or.default": jnp.logical_or,
    "logical_xor.default": jnp.logical_xor,
    "maximum.default": jnp.maximum,
    "minimum.default": jnp.minimum,
    "pow.Scalar": _power,
    "pow.Tensor_Scalar": _power,
    "pow.Tensor_Tensor": _power,
    "round.decimals": _round,
    "where.self": jnp.where,
    "where.Scalar": jnp.where,
    "where.ScalarOther": jnp.where,
    "where.ScalarSelf": jnp.where,
}
