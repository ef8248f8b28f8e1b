"""The `weights` space: one bit per weight, packed, with an exact budget.

A genome is `uint32 [W]`, 32 weights per word, in layout order. Mutation swaps as many kept as
removed weights. Crossover takes a range of weights, in which the parents keep equally many, from
one parent and the rest from the other; or it mixes them in another way and then settles the
difference in the budget among the weights on which the parents differ. A minimum per layer is
protected: those bits are set in every genome and never move.

Meant to be seeded: from random masks it loses to one-shot magnitude everywhere.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.masks import (
    WORD_BITS,
    Layout,
    count_bits,
    join,
    keep_top,
    kept_for,
    num_words,
    pack,
    unpack,
    unpack_leaves,
)
from jgaprune.packed import balanced_segment, exchange_random, flip_random
from jgaprune.types import Array, Key, Masks, MaskSpace, Scores

_CROSSOVERS = ("two_point", "uniform", "one_point")
_MAX_SWAPS = 1024
"""Most swaps of one mutation."""
_MANY_PAIRS = 6400
"""Pairs of weights that hold as many swaps as the strongest mutation makes, on average. Where
few weights are kept, or few removed, that is less than `_MAX_SWAPS`."""
_MAX_CORRECTIONS = 512
"""Most corrections of one round of crossover; more than one round is rare."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    num_kept: int
    num_movable: int
    crossover: str

    @property
    def swap_share(self) -> float:
        """Share of all pairs of weights of which one is kept and the other removed."""
        kept = self.num_kept / self.layout.num_weights
        return 2.0 * kept * (1.0 - kept)

    @property
    def max_swaps(self) -> int:
        """Swaps of the strongest mutation."""
        return max(1, min(_MAX_SWAPS, self.num_movable, int(self.swap_share * _MANY_PAIRS)))


def weights(
    saliency: Scores, layout: Layout, sparsity: float, *, crossover: str = "two_point"
) -> MaskSpace:
    """Packed bits, one per weight.

    Args:
      saliency: scores in which the weights that must always stay are infinite
        (`saliency.protect`); nothing else of them is used.
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      crossover: "two_point", a range from one parent and the rest from the other; "uniform", each
        weight from either parent; "one_point", all before a random cut from one and the rest from
        the other. Only the first needs neither a random number per weight nor corrections.

    Returns:
      A space of genomes `uint32 [W]`.

    Raises:
      ValueError: sparsity out of range, or another crossover.
    """
    if crossover not in _CROSSOVERS:
        raise ValueError(f"crossover must be one of {', '.join(_CROSSOVERS)}, got {crossover!r}.")
    num_kept = kept_for(sparsity, layout.num_weights)
    protected = pack(jnp.isposinf(join(saliency, layout)))
    num_movable = min(num_kept - int(count_bits(protected)), layout.num_weights - num_kept)
    plan = _Plan(layout, num_kept, num_movable, crossover)
    return MaskSpace(
        sample=Partial(_sample, plan, protected),
        decode=Partial(_decode, plan),
        encode=Partial(_encode, plan, protected),
        mutate=Partial(_mutate, plan, protected),
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


def _mutate(plan: _Plan, protected: Array, key: Key, genome: Array, strength: Array) -> Array:
    """Swaps `strength` times the largest number of swaps, at least one if strength is not 0."""
    return exchange_random(
        key,
        genome,
        protected,
        plan.layout.num_weights,
        jnp.ceil(strength * plan.max_swaps).astype(jnp.int32),
        max_swaps=plan.max_swaps,
        swap_share=plan.swap_share,
    )


def _cross(plan: _Plan, key: Key, first: Array, second: Array) -> Array:
    if plan.crossover == "two_point":
        segment = balanced_segment(key, first, second)
        return (first & segment) | (second & ~segment)
    choice_key, settle_key = jax.random.split(key)
    draw = _one_point if plan.crossover == "one_point" else _coin_flips
    from_first = draw(choice_key, plan)
    child = (first & from_first) | (second & ~from_first)
    return _settle(plan, settle_key, child, first ^ second)


def _coin_flips(key: Key, plan: _Plan) -> Array:
    return jax.random.bits(key, (num_words(plan.layout.num_weights),), jnp.uint32)


def _one_point(key: Key, plan: _Plan) -> Array:
    """Bits set before a random cut."""
    cut = jax.random.randint(key, (), 0, plan.layout.num_weights + 1)
    return pack(jnp.arange(plan.layout.num_weights) < cut)


def _settle(plan: _Plan, key: Key, child: Array, differing: Array) -> Array:
    """Brings the child back to the budget, changing only weights on which the parents differ."""

    def off_budget(carry: tuple[Key, Array]) -> Array:
        return count_bits(carry[1]) != plan.num_kept

    def correct(carry: tuple[Key, Array]) -> tuple[Key, Array]:
        key, child = carry
        key, flip_key = jax.random.split(key)
        excess = count_bits(child) - plan.num_kept
        candidates = jnp.where(excess > 0, child & differing, ~child & differing)
        num_flips = jnp.minimum(jnp.abs(excess), _MAX_CORRECTIONS)
        return key, flip_random(flip_key, child, candidates, num_flips, _MAX_CORRECTIONS)

    return jax.lax.while_loop(off_budget, correct, (key, child))[1]


def _used_bits(plan: _Plan) -> Array:
    """All bits that stand for a weight: the last word may have some that don't."""
    words = num_words(plan.layout.num_weights)
    full = jnp.full((words,), jnp.uint32(0xFFFFFFFF))
    unused = words * WORD_BITS - plan.layout.num_weights
    return full.at[-1].set(jnp.uint32(0xFFFFFFFF) >> jnp.uint32(unused))
