"""Gradual pruning: a little at a time, and the rest refitted before the next.

What a weight is worth changes when others go: after the repair has refitted the rest, the
smallest weight is another one. So a mask that is reached in many small steps keeps other weights
than one that is drawn at once (Zhu and Gupta, "To prune, or not to prune", 2017, with training
in between; here the repair takes its place, as in Frantar et al., "Optimal brain compression",
2022).
"""

import jax
import jax.numpy as jnp

from jgaprune.masks import Layout, apply_masks, join, kept_for, split
from jgaprune.model import Model
from jgaprune.saliency.one_shot import minimum_per_layer, one_shot
from jgaprune.types import Masks, Params, Repair, Scores

_BEYOND = (0.8, 0.64, 0.512)
"""Shares of the budget that it goes on to, so that layers which are to lose more have an order."""


def gradual(model: Model, repair: Repair, sparsity: float, *, rounds: int = 18) -> Scores:
    """How long each weight survives when the smallest go, round by round, with repair in between.

    Args:
      model: the dense network.
      repair: refits weights, such as `repair.reconstruct`; with one that only corrects
        statistics the order is that of magnitude.
      sparsity: fraction to remove, in (0, 1).
      rounds: steps to that sparsity, each keeping the same share of what is left.

    Returns:
      `float32`, the budget over the rank of each weight, by leaf name in the leaf's shape.

    Raises:
      ValueError: sparsity out of range, or no rounds.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}.")
    layout, num_kept = model.layout, kept_for(sparsity, model.layout.num_weights)
    params = model.params
    masks: Masks = {name: jnp.ones(params[name].shape, bool) for name in layout.names}
    lasted = {name: jnp.zeros(params[name].shape, jnp.int32) for name in layout.names}
    sizes = {name: jnp.abs(params[name]) for name in layout.names}
    for kept_fraction in schedule(layout, sparsity, rounds):
        masks = one_shot(_alive(sizes, masks), layout, 1.0 - kept_fraction)
        params = _refitted(model, repair, masks)
        lasted = {name: lasted[name] + masks[name] for name in layout.names}
        sizes = {
            name: jnp.where(masks[name], jnp.abs(params[name]), sizes[name])
            for name in layout.names
        }
    return by_survival(lasted, sizes, layout, num_kept)


def schedule(layout: Layout, sparsity: float, rounds: int) -> list[float]:
    """Shares kept, round by round; those beyond the budget as long as every layer stays alive."""
    kept_fraction = 1.0 - sparsity
    shares = [kept_fraction ** (number / rounds) for number in range(1, rounds + 1)]
    shares += [kept_fraction * further for further in _BEYOND]
    fewest = sum(minimum_per_layer(layout, layout.num_weights))
    return [
        share
        for share in shares
        if max(1, fewest) <= share * layout.num_weights - 0.5 and share < 1 - 1 / layout.num_weights
    ]


def _alive(sizes: Scores, masks: Masks) -> Scores:
    return {name: jnp.where(masks[name], sizes[name], -1.0) for name in masks}


@jax.jit
def _refitted(model: Model, repair: Repair, masks: Masks) -> Params:
    return repair.fit(apply_masks(model.params, masks), model.buffers)[1]


def by_survival(lasted: Scores, sizes: Scores, layout: Layout, num_kept: int) -> Scores:
    """The budget over the rank: 1 for what lasted longest, and has the largest score of that."""
    order = jnp.lexsort((-join(sizes, layout), -join(lasted, layout)))
    ranks = jnp.zeros(order.shape, jnp.float32).at[order].set(jnp.arange(1.0, order.size + 1))
    return split(num_kept / ranks, layout)
