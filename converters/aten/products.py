"""Matrix products."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jgaprune.types import Array


def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x [..., I]` times `weight [I, O]`, which is Flax layout."""
    y = jnp.matmul(x, weight)
    return y if bias is None else y + bias


def _added(added: Array, x: Array, weight: Array, beta: float = 1, alpha: float = 1) -> Array:
    y = jnp.matmul(x, weight)
    return (y if alpha == 1 else alpha * y) + (added if beta == 1 else beta * added)


OPERATORS: dict[str, Callable[..., Any]] = {
    "addmm.default": _added,
    "baddbmm.default": _added,
    "bmm.default": jnp.matmul,
    "dot.default": jnp.dot,
    "linear.default": _linear,
    "matmul.default": jnp.matmul,
    "mm.default": jnp.matmul,
    "mv.default": jnp.matmul,
}
