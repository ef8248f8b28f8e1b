"""The `weights` space: one bit per weight, packed, with an exact budget.

A genome is `uint32 [W]`, 32 weights per word, in layout order. Mutation swaps as many kept as
removed weights, any or rather those near a saliency's threshold. Crossover takes each weight from
either parent, such that as many are kept. A minimum per layer is protected: those bits are set in
every genome and never move.

Meant to be seeded: from random masks it loses to one-shot magnitude everywhere.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jgaprune.masks import (
    Layout,
    count_bits,
    join,
    keep_top,
    kept_for,
    pack,
    unpack,
    unpack_leaves,
)
from jgaprune.packed import balanced, cheap_bits, exchange_near, exchange_random, near_chance
from jgaprune.types import Array, Key, Masks, MaskSpace, Scores

_CROSSOVERS = ("uniform", "two_point")
_MOST_WEIGHTS = 2**30 - 1
_MAX_SWAPS = 1024
"""Most swaps of one mutation."""
_MANY_PAIRS = 6400
"""Pairs of weights that hold as many swaps as the strongest mutation makes, on average. Where
few weights are kept, or few removed, that is less than `_MAX_SWAPS`."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    num_kept: int
    num_movable: int
    crossover: str
    near: float | None

    @property
    def swap_share(self) -> float:
        """Share of the pairs that mutation draws of which one is kept and the other removed."""
        size = self.layout.num_weights
        rarer = min(self.num_kept, size - self.num_kept) / size
        if self.near is not None:  # up to there, kept and removed weights alternate
            rarer = 0.5 * near_chance(self.near, 2 * rarer)
        return 2.0 * rarer * (1.0 - rarer)

    @property
    def max_swaps(self) -> int:
        """Swaps of the strongest mutation."""
        return max(1, min(_MAX_SWAPS, self.num_movable, int(self.swap_share * _MANY_PAIRS)))


def weights(
    saliency: Scores,
    layout: Layout,
    sparsity: float,
    *,
    crossover: str = "uniform",
    near: float | None = None,
) -> MaskSpace:
    """Packed bits, one per weight.

    Args:
      saliency: scores in which the weights that must always stay are infinite
        (`saliency.protect`); nothing else of them is used, unless `near` is given.
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      crossover: "uniform", each weight from either parent; "two_point", those between two cuts
        from one and the rest from the other.
      near: share of the weights, in (0, 0.5), those nearest to the saliency's one-shot threshold
        on both sides, that half of the moved weights shall be from: kept ones of low score change
        places with removed ones of high score. By default all weights move alike.

    Returns:
      A space of genomes `uint32 [W]`.

    Raises:
      ValueError: sparsity or `near` out of range, another crossover, or 2**30 weights or more.
    """
    if crossover not in _CROSSOVERS:
        raise ValueError(f"crossover must be one of {', '.join(_CROSSOVERS)}, got {crossover!r}.")
    if layout.num_weights > _MOST_WEIGHTS:
        raise ValueError(
            f"the space 'weights' takes at most {_MOST_WEIGHTS} weights, got "
            f"{layout.num_weights}. Use 'offsets', which has a gene per layer or channel."
        )
    if near is not None and not 0.0 < near < 0.5:
        raise ValueError(
            f"near must be between 0 and 0.5 (both excluded), got {near:g}. It is the share of the "
            "weights that half of the moved ones are from; leave it out to move all alike."
        )
    num_kept = kept_for(sparsity, layout.num_weights)
    protected = pack(jnp.isposinf(join(saliency, layout)))
    num_movable = min(num_kept - int(count_bits(protected)), layout.num_weights - num_kept)
    plan = _Plan(layout, num_kept, num_movable, crossover, near)
    order = None if near is None else _from_threshold(join(saliency, layout), num_kept)
    return MaskSpace(
        sample=Partial(_sample, plan, protected),
        decode=Partial(_decode, plan),
        encode=Partial(_encode, plan, protected),
        mutate=Partial(_mutate, plan, protected, order),
        cross=Partial(_cross, plan),
        strength=(0.02, 1.0),
    )


def _sample(plan: _Plan, protected: Array, key: Key) -> Array:
    scores = jax.random.uniform(key, (plan.layout.num_weights,))
    return _fill(plan, protected, scores)


def _fill(plan: _Plan, protected: Array, scores: Array) -> Array:
    """The protected weights, and the best of the others up to the budget."""
    always = unpack(protected, plan.layout.num_weights)
    return pack(keep_top(jnp.where(always, jnp.inf, scores), plan.num_kept))


def _decode(plan: _Plan, genome: Array) -> Masks:
    return unpack_leaves(genome, plan.layout)


def _encode(plan: _Plan, protected: Array, masks: Masks) -> Array:
    """The masks themselves; protected weights are added, and the budget kept, if they differ."""
    return _fill(plan, protected, join(masks, plan.layout).astype(jnp.float32))


def _from_threshold(scores: Array, num_kept: int) -> Array:
    """The weights by how far they are from the threshold, in ranks: `int32 [G]`."""
    places = np.argsort(np.abs(2 * np.arange(scores.size) + 1 - 2 * num_kept), kind="stable")
    return jnp.argsort(-scores, stable=True).astype(jnp.int32)[places]


def _mutate(
    plan: _Plan, protected: Array, order: Array | None, key: Key, genome: Array, strength: Array
) -> Array:
    """Swaps `strength` times the largest number of swaps, rounded up; rarely fewer."""
    if plan.num_movable == 0:
        return genome
    size, most, share = plan.layout.num_weights, plan.max_swaps, plan.swap_share
    num_swaps = jnp.ceil(strength * most).astype(jnp.int32)
    if order is None or plan.near is None:
        return exchange_random(
            key, genome, protected, size, num_swaps, max_swaps=most, swap_share=share
        )
    return exchange_near(
        key, genome, protected, order, num_swaps, near=plan.near, max_swaps=most, swap_share=share
    )


def _cross(plan: _Plan, key: Key, first: Array, second: Array) -> Array:
    choice_key, balance_key = jax.random.split(key)
    draw = cheap_bits if plan.crossover == "uniform" else _range
    choice = balanced(balance_key, first, second, draw(choice_key, first.shape[0]))
    return (first & choice) | (second & ~choice)


def _range(key: Key, num_words: int) -> Array:
    """All words from a random one on."""
    return jnp.where(
        jnp.arange(num_words) < jax.random.randint(key, (), 0, num_words),
        jnp.uint32(0),
        jnp.uint32(0xFFFFFFFF),
    )
