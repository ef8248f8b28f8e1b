"""Padding; ATen names the sides from the last axis backwards."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array


def _sides(x: Array, pad: Sequence[int]) -> list[tuple[int, int]]:
    """`(before, after)` of every axis."""
    padded = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return [(0, 0)] * (x.ndim - len(padded)) + padded[::-1]


def _constant(x: Array, pad: Sequence[int], value: float = 0) -> Array:
    """Negative sides cut."""
    sides = [(before, after, 0) for before, after in _sides(x, pad)]
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), sides)


def _continued(mode: str, x: Array, pad: Sequence[int]) -> Array:
    """What negative sides cut off is still there to be mirrored."""
    sides = _sides(x, pad)
    padded = jnp.pad(x, [(max(0, before), max(0, after)) for before, after in sides], mode=mode)
    cuts = [(min(0, before), min(0, after), 0) for before, after in sides]
    return jax.lax.pad(padded, jnp.zeros((), x.dtype), cuts)


OPERATORS: dict[str, Callable[..., Any]] = {
    "constant_pad_nd.default": _constant,
    **{f"reflection_pad{axes}d.default": partial(_continued, "reflect") for axes in (1, 2, 3)},
    **{f"replication_pad{axes}d.default": partial(_continued, "edge") for axes in (1, 2, 3)},
}
