"""Exchanging bits of a packed mask `uint32 [W]`: mutation that keeps the number of set bits.

No sort and no counting: the cost grows with the number of swaps, not with the mask. Masks have
fewer than 2**30 weights, so that positions and their sums are `int32`.

Positions are drawn in pairs, from strata, so that none is drawn twice; a pair whose bits differ
exchanges them. The strata are of equal size, or small near the beginning of a given order.
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
    drawn, max_pairs = _num_pairs(num_swaps, max_swaps, swap_share, num_bits)
    pairs = _random_pairs(key, num_bits, drawn, max_pairs)
    return _exchange(words, fixed, pairs, drawn, num_swaps)


def exchange_near(
    key: Key,
    words: Array,
    fixed: Array,
    order: Array,
    num_swaps: Array,
    *,
    near: float,
    max_swaps: int,
    swap_share: float,
) -> Array:
    """`exchange_random` with positions that mostly lie in the beginning of an order.

    Places in the order are drawn log-uniformly, half of them from the first `near` of it; fewer
    where it has no room for so many different ones. At its end the chance is still a sixth of an
    even one if `near` is 5 %, so that masks of every kind are changed.

    Args:
      key: PRNG key.
      words: packed mask `uint32 [W]`.
      fixed: packed mask `uint32 [W]` of the bits that must stay as they are.
      order: `int32 [G]`, all positions.
      num_swaps: `int32 []`, at most `max_swaps`.
      near: share of the order, in (0, 0.5); static.
      max_swaps: static bound.
      swap_share: share of all pairs so drawn whose bits differ, roughly.

    Returns:
      `uint32 [W]` with as many set bits as `words`.
    """
    drawn, max_pairs = _num_pairs(num_swaps, max_swaps, swap_share, order.size)
    first, second = _near_pairs(key, order.size, near, drawn, max_pairs)
    return _exchange(words, fixed, (order[first], order[second]), drawn, num_swaps)


def near_chance(near: float, share: float) -> float:
    """Chance that `exchange_near` draws from the first `share` of its order, in 0..1.

    >>> near_chance(0.05, 0.05), near_chance(0.05, 1.0)
    (0.5, 1.0)
    """
    base = _base(near)
    return math.log1p(share * (base - 1.0)) / math.log(base)


def _near_quantile(near: float, chance: Array) -> Array:
    """Share of the order before which a place lies with this chance; the inverse of the above."""
    base = _base(near)
    return jnp.expm1(chance * math.log(base)) / (base - 1.0)


def _base(near: float) -> float:
    """What a log-uniform law raises to the power of the chance."""
    return (1.0 / near - 1.0) ** 2


def _num_pairs(
    num_swaps: Array, max_swaps: int, swap_share: float, num_bits: int
) -> tuple[Array, int]:
    """Pairs to draw, `int32 []`, so that enough of them serve, and a static bound."""
    max_pairs = min(math.ceil((max_swaps + _spare(max_swaps)) / swap_share), num_bits // 2)
    asked = num_swaps.astype(jnp.float32)
    wanted = (asked + _spare(asked)) / swap_share
    drawn = jnp.where(num_swaps > 0, jnp.ceil(wanted), 0).astype(jnp.int32)
    return jnp.minimum(drawn, max_pairs), max_pairs


def _exchange(
    words: Array, fixed: Array, pairs: tuple[Array, Array], drawn: Array, num_swaps: Array
) -> Array:
    """Swaps the bits of the pairs before `drawn` that differ and may move, up to `num_swaps`."""
    (first_word, first_bit), (second_word, second_bit) = (_locate(one) for one in pairs)
    first_set = words[first_word] & first_bit != 0
    second_set = words[second_word] & second_bit != 0
    is_fixed = (fixed[first_word] & first_bit) | (fixed[second_word] & second_bit) != 0
    drawn_ones = jnp.arange(first_set.size, dtype=jnp.int32) < drawn
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


def _near_pairs(
    key: Key, num_bits: int, near: float, num: Array, max_num: int
) -> tuple[Array, Array]:
    """`max_num` pairs of places in an order; those before `num` are all different.

    Strata of equal chance, one place wide at least. A place is paired with one of any stratum.
    """
    start_key, shift_key, offset_key = jax.random.split(key, 3)
    num_strata = jnp.maximum(2 * num, 1)
    start, shift = (
        jax.random.randint(one, (), 0, jnp.maximum(num, 1)) for one in (start_key, shift_key)
    )
    pair = jnp.arange(max_num, dtype=jnp.int32)
    turned = jnp.stack([pair + start, pair + start + shift]) % jnp.maximum(num, 1)
    stratum = 2 * turned + jnp.array([[0], [1]], jnp.int32)
    edges = jnp.arange(2 * max_num + 1, dtype=jnp.int32)
    chance = edges.astype(jnp.float32) / num_strata.astype(jnp.float32)
    spare = num_bits - num_strata
    wider = _near_quantile(near, jnp.minimum(chance, 1.0)) * spare.astype(jnp.float32)
    # Rounding may not take an edge behind the one before it.
    edges += jax.lax.cummax(jnp.minimum(jnp.floor(wider).astype(jnp.int32), spare))
    begin, length = edges[stratum], edges[stratum + 1] - edges[stratum]
    draws = cheap_bits(offset_key, 2 * max_num).reshape(2, max_num)
    offset = (draws % jnp.maximum(length, 1).astype(jnp.uint32)).astype(jnp.int32)
    first, second = jnp.minimum(begin + offset, num_bits - 1)
    return first, second


def _locate(positions: Array) -> tuple[Array, Array]:
    """Word index, and a word in which only the position's bit is set."""
    bit = (positions % WORD_BITS).astype(jnp.uint32)
    return positions // WORD_BITS, jnp.uint32(1) << bit
