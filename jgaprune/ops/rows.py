"""Rows of large populations: made, and put in each other's place, with little traffic.

A CPU makes the rows one after another, so that what is read for one stays in its cache while it
is worked on; and it copies only the rows that change. Accelerators do all rows at once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array

_LARGE_BYTES = 2**15
"""Rows from this size on are worth a loop on CPU."""


def make_rows(function: Callable[..., Any], *arguments: Any) -> Any:
    """`jax.vmap(function)(*arguments)`, one row after another where that is faster.

    Args:
      function: makes one row, a pytree of arrays.
      *arguments: pytrees with leading axis `P`.

    >>> make_rows(lambda x: 2 * x, jnp.arange(3)).tolist()
    [0, 2, 4]
    """
    rows = jax.eval_shape(jax.vmap(function), *arguments)
    if _one_by_one(rows):
        return jax.lax.map(lambda row: function(*row), arguments)
    return jax.vmap(function)(*arguments)


def replace_rows(old: Any, new: Any, places: Array) -> Any:
    """Puts rows of `new` in the place of rows of `old`.

    Args:
      old: pytree with leading axis `P`.
      new: likewise, with leading axis `Q`.
      places: `int32 [Q]`, for each new row the index of the old one whose place it takes, all
        different; `P` where it is dropped.

    >>> replace_rows(jnp.zeros(3), jnp.array([1.0, 2.0]), jnp.array([3, 0])).tolist()
    [2.0, 0.0, 0.0]
    """
    if not _one_by_one(old):
        return jax.tree.map(lambda leaf, rows: leaf.at[places].set(rows, mode="drop"), old, new)
    num_old = jax.tree.leaves(old)[0].shape[0]
    taken = jnp.argsort(places == num_old, stable=True)

    def copy(count: Array, rows: Any) -> Any:
        row = taken[count]
        return jax.tree.map(lambda leaf, ones: leaf.at[places[row]].set(ones[row]), rows, new)

    return jax.lax.fori_loop(0, jnp.sum(places != num_old), copy, old)


def _one_by_one(rows: Any) -> bool:
    """Whether rows are large, and the machine has a cache to keep one in."""
    leaves = jax.tree.leaves(rows)
    num_bytes = sum(leaf.size * leaf.dtype.itemsize // leaf.shape[0] for leaf in leaves)
    return jax.default_backend() == "cpu" and num_bytes >= _LARGE_BYTES
