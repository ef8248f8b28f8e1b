"""Crossover of packed masks `uint32 [W]` that keeps the number of set bits, without corrections.

Any choice of bits from two parents that is reversed from the right place on gives a child with as
many set bits as they have. Reversing it from the first bit on, or from none, makes the excess of
set bits the opposite, and from one place to the next it changes by one at most: in between there
is a place where it is zero.
"""

import jax
import jax.numpy as jnp

from jgaprune.masks import WORD_BITS, unpack
from jgaprune.types import Array, Key

_BLOCK = 32
"""Words that are counted together, so that only their sums are summed up over the whole mask."""
_BLOCK_BITS = _BLOCK * WORD_BITS


def balanced(key: Key, first: Array, second: Array, choice: Array) -> Array:
    """A choice between two masks, reversed from some place on so that the child is balanced.

    Args:
      key: PRNG key; of the fitting places one near a random one is taken.
      first: packed mask `uint32 [W]`.
      second: likewise, with as many set bits.
      choice: `uint32 [W]`, set where the child takes the bit of the first.

    Returns:
      `uint32 [W]`; `(first & choice) | (second & ~choice)` has as many set bits as the parents.
    """
    aim = jax.random.randint(key, (), 0, first.shape[0] * WORD_BITS)
    steps = _per_block(_gains(first, second, choice))
    ends = jnp.cumsum(steps)
    begins = ends - steps
    excess = ends[-1] // 2
    reaches = (jnp.minimum(begins, ends) <= excess) & (excess <= jnp.maximum(begins, ends))
    block = _nearest(reaches, aim // _BLOCK_BITS)
    walk = begins[block] + _walk(first, second, choice, block)
    place = block * _BLOCK_BITS + _nearest(walk == excess, aim % _BLOCK_BITS)
    return choice ^ ~_below(place - jnp.arange(first.shape[0], dtype=jnp.int32) * WORD_BITS)


def _gains(first: Array, second: Array, choice: Array) -> Array:
    """The differing bits of each word that the child has set, less those that it has not.

    All in all that is twice the excess of its set bits, since the parents have equally many; those
    of the words from which on the choice is reversed are what the excess then loses.
    """
    differing = first ^ second
    gained = differing & ((first & choice) | (second & ~choice))
    count = jax.lax.population_count
    return 2 * count(gained).astype(jnp.int32) - count(differing).astype(jnp.int32)


def _per_block(counts: Array) -> Array:
    """Sums of blocks of words; the last one may be shorter."""
    whole = counts.shape[0] // _BLOCK * _BLOCK
    sums = jnp.sum(counts[:whole].reshape(-1, _BLOCK), axis=1)
    return jnp.append(sums, jnp.sum(counts[whole:]))


def _walk(first: Array, second: Array, choice: Array, block: Array) -> Array:
    """The sum of gains before each bit of a block, and at its end."""
    index = block * _BLOCK + jnp.arange(_BLOCK, dtype=jnp.int32)
    one, other, chosen = (
        unpack(words.at[index].get(mode="fill", fill_value=0), _BLOCK_BITS)
        for words in (first, second, choice)
    )
    gains = jnp.where(one == other, 0, jnp.where(jnp.where(chosen, one, other), 1, -1))
    return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(gains)])


def _nearest(fitting: Array, aim: Array) -> Array:
    """The index nearest to `aim` that is fitting."""
    distance = jnp.abs(jnp.arange(fitting.shape[0], dtype=jnp.int32) - aim)
    return jnp.argmin(jnp.where(fitting, distance, fitting.shape[0])).astype(jnp.int32)


def _below(bit: Array) -> Array:
    """Words whose bits below `bit` are set; none if it is negative, all from 32 on."""
    ones = (jnp.uint32(1) << jnp.clip(bit, 0, WORD_BITS - 1).astype(jnp.uint32)) - 1
    return jnp.where(bit >= WORD_BITS, jnp.uint32(0xFFFFFFFF), ones)
