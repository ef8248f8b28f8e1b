"""Cheap random words for drawing weights and flipping coins by the million.

JAX's generators make words that withstand every statistical test, which costs more than all else
that an operator does with them. Here the number of each word is hashed, under a key from JAX's
generator: fair and independent as far as a search can tell.
"""

import jax
import jax.numpy as jnp

from jgaprune.types import Array, Key


def cheap_bits(key: Key, num_words: int) -> Array:
    """Random words `uint32 [num_words]`; a typed threefry key gives the same ones on every
    backend.

    The hash is "lowbias32" (Wellons, https://github.com/skeeto/hash-prospector), twice, with
    another word of the key in between.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    words = jnp.arange(num_words, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9) + first
    return hashed(hashed(words) ^ second)


def hashed(words: Array) -> Array:
    """The hash of each word, `uint32` shaped like them; no two words have the same."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x7FEB352D)
    words = (words ^ (words >> 15)) * jnp.uint32(0x846CA68B)
    return words ^ (words >> 16)
