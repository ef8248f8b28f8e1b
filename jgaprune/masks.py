"""Mask arithmetic: one flat order of all prunable weights, packing, and exact budgets.

A `Layout` fixes the order in which the prunable leaves are joined into one vector of `G`
weights. Packed masks hold 32 weights per uint32 word, weight `i` in bit `i % 32` of word
`i // 32`. Thresholds are found by bisection on the floats' bit patterns: exact, and without
a sort.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.types import Array, Masks, Params

WORD_BITS = 32


@jax.tree_util.register_static
@dataclass(frozen=True)
class Layout:
    """Where each prunable leaf lies in the flat order. Static: hashes by value.

    Attributes:
      names: leaf names, in order.
      shapes: their shapes.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of weights per leaf."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def starts(self) -> tuple[int, ...]:
        """Index of each leaf's first weight, then the total: one more than leaves."""
        return tuple(int(start) for start in np.cumsum((0, *self.sizes)))

    @property
    def num_weights(self) -> int:
        """Number of prunable weights, `G`."""
        return sum(self.sizes)


def layout_of(params: Params, prunable: tuple[str, ...]) -> Layout:
    """The flat order of the leaves named in `prunable`.

    >>> layout_of({"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, ("w",)).num_weights
    6
    """
    return Layout(prunable, tuple(tuple(params[name].shape) for name in prunable))


def join(leaves: dict[str, Array], layout: Layout) -> Array:
    """Joins leaves into one vector `[G]`."""
    return jnp.concatenate([leaves[name].reshape(-1) for name in layout.names])


def split(flat: Array, layout: Layout) -> dict[str, Array]:
    """Splits a vector `[G]` into leaves; the inverse of `join`."""
    starts = layout.starts
    return {
        name: flat[start:stop].reshape(shape)
        for name, shape, start, stop in zip(
            layout.names, layout.shapes, starts[:-1], starts[1:], strict=True
        )
    }


def apply_masks(params: Params, masks: Masks) -> Params:
    """Sets the removed weights to zero; leaves without a mask pass through."""
    return {
        name: jgaprune_masked(leaf, masks[name]) if name in masks else leaf
        for name, leaf in params.items()
    }


MASKING = "jgaprune_masked"
"""Name of the function below in the programs that call it."""


@jax.jit
def jgaprune_masked(weights: Array, mask: Array) -> Array:
    """The weights with the removed ones set to zero.

    Jitted, so that it is one operation of the programs that call it, known by its name: `ops`
    may compute it together with the product that it goes into.
    """
    return jnp.where(mask, weights, jnp.zeros((), weights.dtype))


def count_kept(masks: Masks) -> Array:
    """Number of weights that the masks keep, `int32 []`.

    >>> int(count_kept({"w": jnp.array([True, False, True])}))
    2
    """
    return sum((jnp.sum(mask, dtype=jnp.int32) for mask in masks.values()), jnp.int32(0))


def num_words(num_weights: int) -> int:
    """Words that a packed mask of `num_weights` weights needs, `W`."""
    return -(-num_weights // WORD_BITS)


def pack(flat: Array) -> Array:
    """Packs `bool [G]` into `uint32 [W]`; unused bits of the last word are zero.

    >>> pack(jnp.array([True, False, True])).tolist()
    [5]
    """
    padding = num_words(flat.shape[0]) * WORD_BITS - flat.shape[0]
    bits = jnp.pad(flat, (0, padding)).reshape(-1, WORD_BITS).astype(jnp.uint32)
    return jnp.sum(bits << jnp.arange(WORD_BITS, dtype=jnp.uint32), axis=1, dtype=jnp.uint32)


def unpack(words: Array, num_weights: int) -> Array:
    """Unpacks `uint32 [W]` into `bool [G]`; the inverse of `pack`."""
    bits = words[:, None] >> jnp.arange(WORD_BITS, dtype=jnp.uint32)
    return (bits & 1).astype(bool).reshape(-1)[:num_weights]


def unpack_leaves(words: Array, layout: Layout) -> Masks:
    """Unpacks `uint32 [W]` into a mask per leaf: `split(unpack(words, G), layout)`.

    Every leaf is unpacked by itself, so that it can be done where its mask is applied.
    """
    starts = layout.starts
    return {
        name: _unpack_range(words, start, stop).reshape(shape)
        for name, shape, start, stop in zip(
            layout.names, layout.shapes, starts[:-1], starts[1:], strict=True
        )
    }


def _unpack_range(words: Array, start: int, stop: int) -> Array:
    """`bool [stop - start]`, from the words that hold these bits."""
    first = start // WORD_BITS
    bits = unpack(words[first : num_words(stop)], stop - first * WORD_BITS)
    return bits[start - first * WORD_BITS :]


def count_bits(words: Array) -> Array:
    """Number of set bits in `uint32 [W]`, `int32 []`."""
    return jnp.sum(jax.lax.population_count(words).astype(jnp.int32))


def kept_for(sparsity: float, num_weights: int) -> int:
    """Number of weights to keep so that the share removed is `sparsity`, rounded to one weight.

    Raises:
      ValueError: sparsity is not in (0, 1), or nothing would be left.

    >>> kept_for(0.7, 10)
    3
    """
    if not 0.0 < sparsity < 1.0:
        hint = f" Did you mean {sparsity / 100:g}?" if 2 <= sparsity < 100 else ""
        raise ValueError(
            f"sparsity must be between 0 and 1 (both excluded), got {sparsity:g}. "
            f"It is the fraction of the prunable weights to remove.{hint}"
        )
    kept = num_weights - round(sparsity * num_weights)
    if kept < 1:
        raise ValueError(
            f"sparsity {sparsity:g} leaves none of {num_weights} prunable weights; lower it."
        )
    return kept


def keep_top(scores: Array, num_kept: int | Array) -> Array:
    """Keeps exactly the `num_kept` largest scores; among equal ones the first come first.

    Bisection over the 32-bit patterns of the scores: 32 counting passes, no sort.

    Args:
      scores: `float32 [G]`, without NaN.
      num_kept: how many stay, 0..G; may be traced.

    Returns:
      `bool [G]` with exactly `num_kept` True.

    >>> keep_top(jnp.array([3.0, 1.0, 1.0, 2.0]), 3).tolist()
    [True, True, False, True]
    """
    return _keep_top(scores, jnp.asarray(num_kept, jnp.int32))


@jax.jit  # called outside of compiled programs too, where its loop would compile every time
def _keep_top(scores: Array, num_kept: Array) -> Array:
    ordered = _ordered_bits(scores)

    def refine(step: Array, threshold: Array) -> Array:
        candidate = threshold | (jnp.uint32(1) << (jnp.uint32(31) - step.astype(jnp.uint32)))
        enough = jnp.sum(ordered >= candidate, dtype=jnp.int32) >= num_kept
        return jnp.where(enough, candidate, threshold)

    threshold = jax.lax.fori_loop(0, 32, refine, jnp.uint32(0))
    above = ordered > threshold
    at_threshold = ordered == threshold
    places_left = num_kept - jnp.sum(above, dtype=jnp.int32)
    return above | (at_threshold & (jnp.cumsum(at_threshold, dtype=jnp.int32) <= places_left))


def _ordered_bits(scores: Array) -> Array:
    """Maps floats to uint32 in the same order; both zeros map to one value."""
    scores = jnp.where(scores == 0, 0.0, scores.astype(jnp.float32))
    bits = jax.lax.bitcast_convert_type(scores, jnp.uint32)
    sign = jnp.uint32(1 << 31)
    return jnp.where(bits & sign, ~bits, bits | sign)
