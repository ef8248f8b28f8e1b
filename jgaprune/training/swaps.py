"""Gradient proposals of which swaps pay: a mutation that looks before it leaps.

The straight-through estimate of one small batch says of every removed weight what its return
would do to the loss, and of every kept one what its removal would. A mutation then swaps those
that pay most, among random candidates, so that children differ. Evolution decides which of them
stay: a memetic algorithm. What a gradient costs is counted as evaluations.

Growing by gradient: Evci et al., "Rigging the lottery", ICML 2020; leaving by first-order cost:
Molchanov et al., "Importance estimation for neural network pruning", CVPR 2019.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.tree_util import Partial

from jgaprune.masks import Layout, count_kept, join, keep_top, num_words, split, unpack
from jgaprune.packed import cheap_bits
from jgaprune.training.descent import Loss, Vary
from jgaprune.types import Array, Genome, Key, Masks, MaskSpace, Params, Scores

_PASSES = 3
"""Forward passes that a gradient is worth: one, and a backward pass of twice the work."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    batch: int
    chance: float
    most_swaps: int
    vary: Vary | None


class _Given(NamedTuple):
    decode: Callable[[Genome], Masks]
    encode: Callable[[Masks], Genome]
    mutate: Callable[[Key, Genome, Array], Genome]
    loss: Loss
    params: Params
    protected: Array
    inputs: Array


def gradient_swaps(
    space: MaskSpace,
    loss: Loss,
    params: Params,
    saliency: Scores,
    layout: Layout,
    inputs: Array,
    *,
    chance: float = 0.5,
    batch: int = 64,
    swap_fraction: float = 0.02,
    vary: Vary | None = None,
) -> MaskSpace:
    """The same space, whose mutations sometimes swap what a gradient says.

    Args:
      space: whose genomes can express any masks within the budget: `weights`.
      loss: of masked parameters on a batch, such as `imitation(model)`.
      params: unmasked: what a weight is where it is kept, or comes back.
      saliency: that of the space, in which weights that always stay are infinite.
      layout: the flat order of the prunable weights.
      inputs: model inputs `[N, ...]` that batches are drawn from.
      chance: of a gradient, per mutation, in (0, 1]; the others are those of `space`.
      batch: inputs per gradient.
      swap_fraction: share of the kept weights that the strongest mutation swaps, in (0, 1].
      vary: applied to every batch.

    Returns:
      A space with the genomes of `space`, and its other operators. `mutation_cost` is what
      gradients cost on average: three evaluations each, in proportion to the batch.

    Raises:
      ValueError: a setting is out of its range, or the space cannot encode masks.
    """
    if not (0.0 < chance <= 1.0 and 0.0 < swap_fraction <= 1.0 and batch >= 1):
        raise ValueError(
            "chance and swap_fraction must be in (0, 1] and batch at least 1, got "
            f"{chance:g}, {swap_fraction:g} and {batch}."
        )
    if space.encode is None:
        raise ValueError("gradient swaps need a space that has genomes for given masks.")
    num_inputs = inputs.shape[0]
    batch = min(batch, num_inputs)
    kept = count_kept(space.decode(space.sample(jax.random.key(0))))
    most_swaps = max(1, round(swap_fraction * int(kept)))
    plan = _Plan(layout, batch, float(chance), most_swaps, vary)
    protected = jnp.isposinf(join(saliency, layout))
    cost = (1.0 - chance) * space.mutation_cost + chance * _PASSES * batch / num_inputs
    given = _Given(space.decode, space.encode, space.mutate, loss, params, protected, inputs)
    return space._replace(mutate=Partial(_mutate, plan, given), mutation_cost=cost)


def _mutate(plan: _Plan, given: _Given, key: Key, genome: Genome, strength: Array) -> Genome:
    chance_key, mutate_key = jax.random.split(key)
    asks = jax.random.bernoulli(chance_key, plan.chance)

    @sequential_vmap  # batched, both branches of a condition are computed for all
    def one(given: _Given, asks: Array, key: Key, genome: Genome, strength: Array) -> Genome:
        return jax.lax.cond(
            asks, Partial(_swapped, plan, given), given.mutate, key, genome, strength
        )

    return one(given, asks, mutate_key, genome, strength)


def _swapped(plan: _Plan, given: _Given, key: Key, genome: Genome, strength: Array) -> Genome:
    """Removed weights whose return pays most for kept ones that cost least, of random halves."""
    batch_key, return_key, leave_key = jax.random.split(key, 3)
    gains, kept = _gains(plan, given, batch_key, genome)
    returning = jnp.where(~kept & ~given.protected & _half(return_key, kept), gains, -jnp.inf)
    leaving = jnp.where(kept & ~given.protected & _half(leave_key, kept), -gains, -jnp.inf)
    wanted = jnp.ceil(strength * plan.most_swaps).astype(jnp.int32)
    possible = [jnp.sum(one > -jnp.inf, dtype=jnp.int32) for one in (returning, leaving)]
    num = jnp.minimum(wanted, jnp.minimum(*possible))
    swapped = (kept | keep_top(returning, num)) & ~keep_top(leaving, num)
    return given.encode(split(swapped, plan.layout))


def _gains(plan: _Plan, given: _Given, key: Key, genome: Genome) -> tuple[Array, Array]:
    """By how much the loss is lower, to first order, with each weight than without; what is kept.

    `float32 [G]`, `bool [G]`.
    """
    draw_key, vary_key = jax.random.split(key)
    inputs, params = given.inputs, given.params
    batch = inputs[jax.random.choice(draw_key, inputs.shape[0], (plan.batch,), replace=False)]
    if plan.vary is not None:
        batch = plan.vary(vary_key, batch)
    masks = given.decode(genome)
    masked = {name: jnp.where(mask, params[name], 0) for name, mask in masks.items()}
    gradient = jax.grad(lambda leaves: given.loss({**params, **leaves}, batch))(masked)
    gains = join({name: -one * params[name] for name, one in gradient.items()}, plan.layout)
    gains = jnp.where(jnp.isfinite(gains), gains, 0.0).astype(jnp.float32)
    return gains, join(masks, plan.layout)


def _half(key: Key, like: Array) -> Array:
    """A random half of the weights, `bool [G]`."""
    return unpack(cheap_bits(key, num_words(like.size)), like.size)
