"""Finding, and flipping, the n-th set bits of a packed mask `uint32 [W]`.

No sort, and one random number per flipped weight rather than per weight.
"""

import jax
import jax.numpy as jnp

from jgaprune.masks import count_bits
from jgaprune.packed.blocks import BLOCK, in_blocks
from jgaprune.types import Array, Key


def flip_random(key: Key, words: Array, among: Array, num_flips: Array, max_flips: int) -> Array:
    """Flips exactly `num_flips` different bits of `words`, drawn evenly among the set bits of
    `among`.

    The set bits are cut into `num_flips` strata of equal size, and one is drawn from each, so
    no bit is drawn twice and each is equally likely up to the rounding of the strata.

    Args:
      key: PRNG key.
      words: packed mask `uint32 [W]`.
      among: packed mask `uint32 [W]` of the bits that may flip.
      num_flips: `int32 []`; at most `max_flips` and at most the set bits of `among`.
      max_flips: static bound, below 2**15.

    Returns:
      `uint32 [W]`.
    """
    ranks, valid = _random_ranks(key, count_bits(among), num_flips, max_flips)
    word, bit = nth_set_bits(among, ranks)
    flips = jnp.where(valid, jnp.uint32(1) << bit, jnp.uint32(0))
    # Every bit is flipped once, so adding into a word cannot carry.
    return words ^ jnp.zeros_like(words).at[word].add(flips)


def nth_set_bits(words: Array, ranks: Array) -> tuple[Array, Array]:
    """Where the set bits number `ranks` (from 0) stand.

    Args:
      words: `uint32 [W]`.
      ranks: `int32 [M]`, each below the number of set bits.

    Returns:
      Word index `int32 [M]` and bit index `uint32 [M]`.

    >>> word, bit = nth_set_bits(jnp.array([0b101, 0b10], jnp.uint32), jnp.array([1, 2]))
    >>> word.tolist(), bit.tolist()
    ([0, 1], [2, 1])
    """
    counts = jax.lax.population_count(words).astype(jnp.int32)
    counts = in_blocks(counts)
    block_ends = jnp.cumsum(jnp.sum(counts, axis=1))
    block = jnp.minimum(jnp.searchsorted(block_ends, ranks, side="right"), counts.shape[0] - 1)
    within_block = ranks - jnp.where(block > 0, block_ends[block - 1], 0)
    word_ends = jnp.cumsum(counts[block], axis=1)
    before = word_ends <= within_block[:, None]
    within_word = within_block - jnp.max(jnp.where(before, word_ends, 0), axis=1)
    word = block * BLOCK + jnp.sum(before, axis=1)
    word = jnp.minimum(word, words.shape[0] - 1).astype(jnp.int32)
    return word, _nth_bit(words[word], within_word)


def _nth_bit(words: Array, ranks: Array) -> Array:
    """The index of the set bit number `rank` in each word, by halving."""
    bit = jnp.zeros_like(words)
    for width in (16, 8, 4, 2, 1):
        lower = words & jnp.uint32((1 << width) - 1)
        count = jax.lax.population_count(lower).astype(jnp.int32)
        is_above = ranks >= count
        ranks = jnp.where(is_above, ranks - count, ranks)
        words = jnp.where(is_above, words >> width, lower)
        bit += jnp.where(is_above, jnp.uint32(width), jnp.uint32(0))
    return bit


def _random_ranks(key: Key, size: Array, num: Array, max_num: int) -> tuple[Array, Array]:
    """`num` different integers below `size`, one per stratum, and which of `max_num` are valid."""
    index = jnp.arange(max_num, dtype=jnp.int32)
    valid = index < num
    strata = jnp.maximum(num, 1)
    width, rest = size // strata, size % strata
    start = index * width + jnp.minimum(index, rest)
    length = width + (index < rest).astype(jnp.int32)
    share = jax.random.uniform(key, (max_num,))
    offset = jnp.minimum(
        (share * length.astype(jnp.float32)).astype(jnp.int32), jnp.maximum(length - 1, 0)
    )
    return jnp.where(valid, start + offset, 0), valid
