"""A word that tells genomes apart: equal ones have the same, others hardly ever."""

from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.packed.cheap_bits import hashed
from jgaprune.types import Array, Genome


def fingerprint(genome: Genome) -> Array:
    """A hash of the genome's bits, `uint32 []`; one pass, without anything in between.

    Two given different genomes have the same one with a chance of 2**-32. In floats, zeros of
    either sign count as different.

    Args:
      genome: pytree of arrays of any type.

    >>> [int(fingerprint(jnp.arange(3, dtype=kind))) for kind in ("int32", "uint32")]
    [2420305834, 2420305834]
    """
    total = jnp.uint32(0)
    for index, leaf in enumerate(jax.tree.leaves(genome)):
        words = _words(leaf)
        places = jnp.arange(words.size, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
        mixed = hashed(words ^ (places + jnp.uint32(index + 1)))
        total = hashed(total) + jnp.sum(mixed, dtype=jnp.uint32)
    return total


def _words(leaf: Any) -> Array:
    """The bits of an array as `uint32`, one word or more per entry."""
    flat = leaf.reshape(-1)
    if flat.dtype == bool:
        return flat.astype(jnp.uint32)
    num_bits = 8 * flat.dtype.itemsize
    kind = jnp.uint32 if num_bits >= 32 else jnp.dtype(f"uint{num_bits}")
    return jax.lax.bitcast_convert_type(flat, kind).reshape(-1).astype(jnp.uint32)
