"""Operators on sizes and tuples, which are Python's own where JAX runs a program.

Shapes are known when JAX traces, so what torch computes from them symbolically is plain
arithmetic here.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

_ARITHMETIC = (
    "add", "and_", "eq", "floordiv", "ge", "gt", "le", "lt", "mod", "mul", "ne", "neg", "or_",
    "pow", "sub", "truediv",
)  # fmt: skip


def _size(x: Any, dim: int) -> int:
    return x.shape[dim]


def _either(condition: bool, first: Any, second: Any) -> Any:
    return first if condition else second


SIZE_OPERATORS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in _ARITHMETIC},
    "ceil": math.ceil,
    "floor": math.floor,
    "getitem": operator.getitem,
    "round": round,
    "sym_float": float,
    "sym_int": int,
    "sym_ite": _either,
    "sym_max": max,
    "sym_min": min,
    "sym_not": operator.not_,
    "sym_size.int": _size,
    "sym_sqrt": math.sqrt,
    "trunc": math.trunc,
}
"""By the operator's name, for Python's functions without their module."""
