"""Exchanging bits of a packed mask `uint32 [W]`: mutation that keeps the number of set bits.

No sort and no counting: the cost grows with the number of swaps, not with the mask. Masks have
fewer than 2**30 weights, so that positions and their sums are `int32`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.masks import WORD_BITS
from jgaprune.packed.cheap_bits import cheap_bits
from jgaprune.types import Array, Key


def exchange_random(
    key: Key,
    words: Array,
    fixed: Array,
    num_bits: int,
    num_swaps: Array,
    *,
    max_swaps: int,
    swap_share: float,
) -> Array:
    """Swaps the bits of random pairs of positions, until `num_swaps` pairs had different ones.

    As many bits are set as are cleared, and nothing is counted or searched: a pair is drawn from
    all positions, and serves if its bits differ. The positions are cut into strata of equal
    size, behind a random start, and one is drawn from each, so none is drawn twice. A few more
    pairs are drawn than should be needed, so fewer swaps than asked for are rare.

    Args:
      key: PRNG key.
      words: packed mask `uint32 [W]`.
      fixed: packed mask `uint32 [W]` of the bits that must stay as they are.
      num_bits: weights of the mask, `G`.
      num_swaps: `int32 []`, at most `max_swaps`.
      max_swaps: static bound.
      swap_share: share of all pairs whose bits differ, roughly.

    Returns:
      `uint32 [W]` with as many set bits as `words`.
    """
    max_pairs = min(math.ceil((max_swaps + _spare(max_swaps)) / swap_share), num_bits // 2)
    asked = num_swaps.astype(jnp.float32)
    wanted = (asked + _spare(asked)) / swap_share
    drawn = jnp.where(num_swaps > 0, jnp.ceil(wanted), 0).astype(jnp.int32)
    drawn = jnp.minimum(drawn, max_pairs)
    first, second = _random_pairs(key, num_bits, drawn, max_pairs)
    (first_word, first_bit), (second_word, second_bit) = _locate(first), _locate(second)
    first_set = words[first_word] & first_bit != 0
    second_set = words[second_word] & second_bit != 0
    is_fixed = (fixed[first_word] & first_bit) | (fixed[second_word] & second_bit) != 0
    drawn_ones = jnp.arange(max_pairs, dtype=jnp.int32) < drawn
    swapped = (first_set != second_set) & ~is_fixed & drawn_ones
    swapped &= jnp.cumsum(swapped.astype(jnp.int32)) <= num_swaps
    changes = jnp.concatenate(
        [jnp.where(first_set, -first_bit, first_bit), jnp.where(first_set, second_bit, -second_bit)]
    )
    # No bit changes twice, so in sum nothing is carried from one bit to the next.
    return words.at[jnp.concatenate([first_word, second_word])].add(
        jnp.where(jnp.tile(swapped, 2), changes, jnp.uint32(0))
    )


def _spare(num_swaps: Any) -> Any:
    """Three standard deviations, and some, of the swaps among so many pairs as should do."""
    return 3.0 * num_swaps**0.5 + 3.0


def _random_pairs(key: Key, num_bits: int, num: Array, max_num: int) -> tuple[Array, Array]:
    """`max_num` pairs of positions; those before `num` are all different."""
    start_key, shift_key, offset_key = jax.random.split(key, 3)
    start = jax.random.randint(start_key, (), 0, num_bits)
    strata = jnp.maximum(2 * num, 1)
    partner = jax.random.randint(shift_key, (), 0, jnp.maximum(num, 1))
    pair = jnp.arange(max_num, dtype=jnp.int32)
    index = jnp.stack([pair, num + (pair + partner) % jnp.maximum(num, 1)])
    width, rest = num_bits // strata, num_bits % strata
    length = jnp.maximum(width + (index < rest).astype(jnp.int32), 1)
    draws = cheap_bits(offset_key, 2 * max_num).reshape(2, max_num)
    offset = (draws % length.astype(jnp.uint32)).astype(jnp.int32)
    positions = (start + index * width + jnp.minimum(index, rest) + offset) % num_bits
    return positions[0], positions[1]


def _locate(positions: Array) -> tuple[Array, Array]:
    """Word index, and a word in which only the position's bit is set."""
    bit = (positions % WORD_BITS).astype(jnp.uint32)
    return positions // WORD_BITS, jnp.uint32(1) << bit
