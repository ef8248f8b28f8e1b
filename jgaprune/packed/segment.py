"""Ranges of a packed mask `uint32 [W]` in which two masks have equally many set bits.

Crossover by such a range keeps the number of set bits without a correction.
"""

import jax
import jax.numpy as jnp

from jgaprune.masks import WORD_BITS, unpack
from jgaprune.packed.blocks import BLOCK, BLOCK_BITS, in_blocks
from jgaprune.types import Array, Key


def balanced_segment(key: Key, first: Array, second: Array) -> Array:
    """A random range of positions in which two masks have equally many set bits.

    From a random position, the other end of the range is that nearest to another one at which
    the difference of the set bits so far is the same. As it changes by one at most from one
    position to the next, such places are wherever it passes that value.

    Args:
      key: PRNG key.
      first: packed mask `uint32 [W]`.
      second: likewise, with as many set bits.

    Returns:
      `uint32 [W]`, the bits of the range set.
    """
    start, aim = jax.random.randint(key, (2,), 0, first.shape[0] * WORD_BITS)
    steps = _steps(first, second)
    ends = jnp.cumsum(steps)
    begins = ends - steps
    block, place = start // BLOCK_BITS, start % BLOCK_BITS
    level = begins[block] + _walk(first, second, block)[place]
    passes = (jnp.minimum(begins, ends) <= level) & (level <= jnp.maximum(begins, ends))
    # A level that is reached within blocks only is found where it was met.
    block = _nearest(passes.at[block].set(True), aim // BLOCK_BITS)
    place = _nearest(begins[block] + _walk(first, second, block) == level, aim % BLOCK_BITS)
    end = block * BLOCK_BITS + place
    return _range(jnp.minimum(start, end), jnp.maximum(start, end), first.shape[0])


def _steps(first: Array, second: Array) -> Array:
    """Set bits of the first less those of the second, per block."""
    ones, others = (jax.lax.population_count(words).astype(jnp.int32) for words in (first, second))
    return jnp.sum(in_blocks(ones - others), axis=1)


def _nearest(fitting: Array, aim: Array) -> Array:
    """The index nearest to `aim` that is fitting."""
    distance = jnp.abs(jnp.arange(fitting.shape[0], dtype=jnp.int32) - aim)
    return jnp.argmin(jnp.where(fitting, distance, fitting.shape[0])).astype(jnp.int32)


def _walk(first: Array, second: Array, block: Array) -> Array:
    """The difference of set bits before each position of a block, and at its end."""
    index = block * BLOCK + jnp.arange(BLOCK, dtype=jnp.int32)
    one, other = (
        unpack(words.at[index].get(mode="fill", fill_value=0), BLOCK_BITS)
        for words in (first, second)
    )
    steps = one.astype(jnp.int32) - other.astype(jnp.int32)
    return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(steps)])


def _range(start: Array, end: Array, num_words: int) -> Array:
    """The bits from `start` to before `end` set, `uint32 [num_words]`."""
    word_starts = jnp.arange(num_words, dtype=jnp.int32) * WORD_BITS
    return _below(end - word_starts) & ~_below(start - word_starts)


def _below(bit: Array) -> Array:
    """Words whose bits below `bit` are set; none if it is negative, all from 32 on."""
    ones = (jnp.uint32(1) << jnp.clip(bit, 0, WORD_BITS - 1).astype(jnp.uint32)) - 1
    return jnp.where(bit >= WORD_BITS, jnp.uint32(0xFFFFFFFF), ones)
