"""Rows of large populations: made, and put in each other's place, with little traffic.

A CPU makes large rows one after another, so that what is read for one stays in its cache while it
is worked on; and it copies only the rows that change. Otherwise as many rows are made at once as
have room for their genes unpacked: a population of packed bits is 50 times as large on the way.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array

_LARGE_BYTES = 2**15
"""Rows from this size on are worth a loop on CPU."""
_BYTES_ON_THE_WAY = 64
"""For each byte of a row: eight packed genes, with a random number and a rank of each."""
_ROOM = {"cpu": 2**28}
_ROOM_ELSEWHERE = 2**32
"""Bytes for all rows that are on the way."""


def make_rows(function: Callable[..., Any], *arguments: Any) -> Any:
    """`jax.vmap(function)(*arguments)`, one row after another where that is faster or has no room.

    Args:
      function: makes one row, a pytree of arrays.
      *arguments: pytrees with leading axis `P`.

    >>> make_rows(lambda x: 2 * x, jnp.arange(3)).tolist()
    [0, 2, 4]
    """
    rows = jax.eval_shape(jax.vmap(function), *arguments)
    count, at_once = jax.tree.leaves(rows)[0].shape[0], _at_once(rows)
    if at_once >= count and not _stay_in_cache(rows):
        return jax.vmap(function)(*arguments)
    batch = None if at_once == 1 else at_once
    return jax.lax.map(lambda row: function(*row), arguments, batch_size=batch)


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
    if not _stay_in_cache(old):
        return jax.tree.map(lambda leaf, rows: leaf.at[places].set(rows, mode="drop"), old, new)
    num_old = jax.tree.leaves(old)[0].shape[0]
    taken = jnp.argsort(places == num_old, stable=True)

    def copy(count: Array, rows: Any) -> Any:
        row = taken[count]
        return jax.tree.map(lambda leaf, ones: leaf.at[places[row]].set(ones[row]), rows, new)

    return jax.lax.fori_loop(0, jnp.sum(places != num_old), copy, old)


def _at_once(rows: Any) -> int:
    """How many rows are made side by side, at least one."""
    if _stay_in_cache(rows):
        return 1
    room = _ROOM.get(jax.default_backend(), _ROOM_ELSEWHERE)
    return max(1, room // max(1, _BYTES_ON_THE_WAY * _bytes_of_one(rows)))


def _stay_in_cache(rows: Any) -> bool:
    """Whether rows are large, and the machine has a cache to keep one in."""
    return jax.default_backend() == "cpu" and _bytes_of_one(rows) >= _LARGE_BYTES


def _bytes_of_one(rows: Any) -> int:
    leaves = jax.tree.leaves(rows)
    return sum(leaf.size * leaf.dtype.itemsize // max(1, leaf.shape[0]) for leaf in leaves)
