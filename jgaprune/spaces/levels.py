"""The `levels` space: whole steps of budget per layer, away from a saliency's one-shot mask.

A genome is an integer level per layer. Level 0 is what the layer keeps in the one-shot mask, and
every level of any layer is the same number of weights, so that one layer a level up and another
one down keeps the budget. The saliency's order within each layer is ranked once, where the space
is built: decoding compares ranks with a number per layer, and neither sorts nor searches.

Method: EvoPress (Sieberling et al., 2024, arXiv:2410.14649). Crossover is ours; EvoPress has none.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.masks import Layout, join, keep_top, kept_for, split
from jgaprune.types import Array, Key, Masks, MaskSpace, Scores

_MOST_SWITCHES = 3
"""Most level switches of one mutation. In EvoPress, 7 to 15 were much worse than 1 to 3."""
_SPREAD = 0.15
"""Standard deviation of a sampled level, as a share of the largest."""
_MOST_LEVELS = 2**20
"""Levels up to here are exact in float32."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    num_kept: int
    num_levels: int
    step: int


class _Base(NamedTuple):
    """The one-shot mask, and how far every layer may leave it.

    Attributes:
      ranks: per leaf, `int32` shaped like it: 0 for its best weight.
      kept: `int32 [L]`, weights that level 0 keeps.
      low: `int32 [L]`, the lowest level of each layer, at most 0.
      high: `int32 [L]`, the highest one, at least 0.
    """

    ranks: Scores
    kept: Array
    low: Array
    high: Array


def levels(
    saliency: Scores,
    layout: Layout,
    sparsity: float,
    *,
    num_levels: int = 16,
    step: int | None = None,
) -> MaskSpace:
    """An integer level per layer; a step is the same number of weights in every layer.

    A layer goes no lower than its protected weights and no higher than its size. A mutation
    switches levels, one layer up and another down, at most three times: the smaller of two uniform
    draws.

    Args:
      saliency: scores, as from `jgaprune.saliency`; infinite ones always stay
        (`saliency.protect` gives every layer its minimum that way).
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      num_levels: levels on either side of the one-shot mask.
      step: weights per level; by default such that `num_levels` of them are what a layer keeps on
        average.

    Returns:
      A space of genomes `int32 [L]`, one level per layer in layout order.

    Raises:
      ValueError: sparsity, `num_levels` or `step` out of range.
    """
    num_kept = kept_for(sparsity, layout.num_weights)
    if not 1 <= num_levels <= _MOST_LEVELS:
        raise ValueError(f"num_levels must be from 1 to {_MOST_LEVELS}, got {num_levels}.")
    if step is None:
        step = max(1, round(num_kept / (len(layout.names) * num_levels)))
    if not 1 <= step <= layout.num_weights:
        raise ValueError(
            f"step must be a number of weights from 1 to {layout.num_weights}, got {step}. Leave "
            "it out for one that suits the network."
        )
    plan = _Plan(layout, num_kept, num_levels, step)
    base = _base(plan, {name: saliency[name] for name in layout.names})
    return MaskSpace(
        sample=Partial(_sample, plan, base),
        decode=Partial(_decode, plan, base),
        encode=Partial(_encode, plan, base),
        mutate=Partial(_mutate, base),
        cross=Partial(_cross),
        strength=(0.5, 1.0),
    )


def _base(plan: _Plan, saliency: Scores) -> _Base:
    one_shot = split(keep_top(join(saliency, plan.layout), plan.num_kept), plan.layout)
    kept = _counts(plan, one_shot)
    protected = _counts(plan, {name: jnp.isposinf(one) for name, one in saliency.items()})
    sizes = jnp.array(plan.layout.sizes, jnp.int32)
    fewer, more = (kept - protected) // plan.step, (sizes - kept) // plan.step
    return _Base(
        {name: _ranks(one) for name, one in saliency.items()},
        kept,
        -jnp.clip(fewer, 0, plan.num_levels),
        jnp.clip(more, 0, plan.num_levels),
    )


@jax.jit
def _ranks(scores: Array) -> Array:
    """How many scores of the leaf come first: larger ones, and equal ones that lie before."""
    order = jnp.argsort(-scores.reshape(-1), stable=True)
    ranks = jnp.zeros(order.shape, jnp.int32).at[order].set(jnp.arange(order.size, dtype=jnp.int32))
    return ranks.reshape(scores.shape)


def _counts(plan: _Plan, masks: Masks) -> Array:
    """Weights that each layer keeps, `int32 [L]`."""
    return jnp.stack([jnp.sum(masks[name], dtype=jnp.int32) for name in plan.layout.names])


def _sample(plan: _Plan, base: _Base, key: Key) -> Array:
    spread = max(1.0, _SPREAD * plan.num_levels)
    return _legal(plan, base, spread * jax.random.normal(key, base.kept.shape))


def _decode(plan: _Plan, base: _Base, genome: Array) -> Masks:
    kept = base.kept + plan.step * _legal(plan, base, genome.astype(jnp.float32))
    return {name: base.ranks[name] < kept[index] for index, name in enumerate(plan.layout.names)}


def _encode(plan: _Plan, base: _Base, masks: Masks) -> Array:
    """Levels at which every layer keeps about as many weights as `masks` do."""
    steps = (_counts(plan, masks) - base.kept).astype(jnp.float32) / plan.step
    return _legal(plan, base, steps)


def _legal(plan: _Plan, base: _Base, wanted: Array) -> Array:
    """The nearest levels `int32 [L]` within the limits that add up to zero.

    All are shifted alike; what is still too much is taken from those that were rounded up most.
    Levels that are legal already stay.
    """
    low, high = (limit.astype(jnp.float32) for limit in (base.low, base.high))
    wanted = jnp.clip(wanted, low, high)
    rounded = jnp.round(wanted)
    nearest = rounded.astype(jnp.int32)

    def shifted(shift: Array) -> Array:
        return jnp.clip(nearest - shift, base.low, base.high)

    def refine(index: Array, shift: Array) -> Array:
        further = shift + (jnp.int32(1) << (num_bits - 1 - index))
        return jnp.where(jnp.sum(shifted(further)) >= 0, further, shift)

    num_bits = (4 * plan.num_levels).bit_length()
    shift = jax.lax.fori_loop(0, num_bits, refine, jnp.int32(-2 * plan.num_levels))
    levels = shifted(shift)
    rounded_up = jnp.where(shifted(shift + 1) < levels, rounded - wanted, -jnp.inf)
    return levels - keep_top(rounded_up, jnp.sum(levels)).astype(jnp.int32)


def _mutate(base: _Base, key: Key, genome: Array, strength: Array) -> Array:
    """Level switches: the smaller of two draws, from one to `strength` times the most, up."""
    count_key, switch_key = jax.random.split(key)
    most = jnp.ceil(strength * _MOST_SWITCHES).astype(jnp.int32)
    drawn = jax.random.randint(count_key, (2,), 1, jnp.maximum(most, 1) + 1)
    num_switches = jnp.minimum(jnp.min(drawn), most)

    def switch(index: Array, genome: Array) -> Array:
        switched = _switched(base, jax.random.fold_in(switch_key, index), genome)
        return jnp.where(index < num_switches, switched, genome)

    return jax.lax.fori_loop(0, _MOST_SWITCHES, switch, genome)


def _switched(base: _Base, key: Key, genome: Array) -> Array:
    """A random layer one level up and another one down; nothing where none can."""
    draws = jax.random.uniform(key, (2, genome.size))
    up = jnp.argmax(jnp.where(genome < base.high, draws[0], -1.0))
    falls = (genome > base.low) & (jnp.arange(genome.size) != up)
    down = jnp.argmax(jnp.where(falls, draws[1], -1.0))
    possible = ((genome[up] < base.high[up]) & falls[down]).astype(genome.dtype)
    return genome.at[up].add(possible).at[down].add(-possible)


def _cross(key: Key, first: Array, second: Array) -> Array:
    """Each layer from either parent, the choice reversed from the place on that keeps the budget.

    Reversing it for all layers makes the excess the opposite, so that in between, in a random
    order of the layers, it is zero at one of them: that one gets a level between its parents'.
    """
    choice_key, order_key = jax.random.split(key)
    order = jax.random.permutation(order_key, first.size)
    differences = (first - second)[order]
    chosen = jax.random.bernoulli(choice_key, 0.5, first.shape)
    before = jnp.where(chosen, differences, 0)
    after = differences - before
    # Excess of a choice that is reversed behind each layer; before the first it is all of `after`.
    excess = jnp.cumsum(before) + jnp.sum(after) - jnp.cumsum(after)
    start = jnp.sign(jnp.sum(after))
    place = jnp.argmax(excess * start <= 0)
    index = jnp.arange(first.size)
    taken = jnp.where(index < place, before, jnp.where(index > place, after, 0))
    taken = taken.at[place].set(-jnp.sum(taken))
    return second.at[order].add(taken)
