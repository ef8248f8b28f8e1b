"""The `weights` space: one bit per weight, packed, with an exact budget.

A genome is `uint32 [W]`, 32 weights per word, in layout order. Mutation swaps as many kept as
removed weights. Crossover takes each weight from either parent, such that as many are kept. A
minimum per layer is protected: those bits are set in every genome and never move.

Meant to be seeded: from random masks it loses to one-shot magnitude everywhere.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
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
from jgaprune.packed import balanced, cheap_bits, exchange_random
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
    saliency: Scores, layout: Layout, sparsity: float, *, crossover: str = "uniform"
) -> MaskSpace:
    """Packed bits, one per weight.

    Args:
      saliency: scores in which the weights that must always stay are infinite
        (`saliency.protect`); nothing else of them is used.
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      crossover: "uniform", each weight from either parent; "two_point", those between two cuts
        from one and the rest from the other.

    Returns:
      A space of genomes `uint32 [W]`.

    Raises:
      ValueError: sparsity out of range, another crossover, or 2**30 weights or more.
    """
    if crossover not in _CROSSOVERS:
        raise ValueError(f"crossover must be one of {', '.join(_CROSSOVERS)}, got {crossover!r}.")
    if layout.num_weights > _MOST_WEIGHTS:
        raise ValueError(
            f"the space 'weights' takes at most {_MOST_WEIGHTS} weights, got "
            f"{layout.num_weights}. Use 'offsets', which has a gene per layer or channel."
        )
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
    """Swaps `strength` times the largest number of swaps, rounded up; rarely fewer."""
    if plan.num_movable == 0:
        return genome
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
