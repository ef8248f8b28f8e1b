"""From scores to masks: one global threshold, exact budget, no layer left empty."""

import math

import jax.numpy as jnp

from jgaprune.masks import Layout, join, keep_top, kept_for, split
from jgaprune.types import Masks, Scores

_MINIMUM_FRACTION = 0.002
"""Share of a layer that always stays: enough to keep it alive, too little to matter."""


def minimum_per_layer(layout: Layout, num_kept: int) -> tuple[int, ...]:
    """Number of weights that every layer keeps at least.

    Raises:
      ValueError: the minima alone exceed the budget.
    """
    minima = tuple(max(1, math.ceil(_MINIMUM_FRACTION * size)) for size in layout.sizes)
    if sum(minima) > num_kept:
        raise ValueError(
            f"the budget of {num_kept} kept weights is below the {sum(minima)} that "
            f"{len(minima)} layers need to stay alive; lower the sparsity."
        )
    return minima


def protect(scores: Scores, layout: Layout, num_kept: int) -> Scores:
    """Gives the best weights of every layer, its minimum, an infinite score."""
    minima = minimum_per_layer(layout, num_kept)
    return {
        name: jnp.where(
            keep_top(scores[name].reshape(-1), minimum).reshape(scores[name].shape),
            jnp.inf,
            scores[name],
        )
        for name, minimum in zip(layout.names, minima, strict=True)
    }


def one_shot(scores: Scores, layout: Layout, sparsity: float) -> Masks:
    """The masks of a saliency: exactly the budget, the best weights of the whole network.

    Args:
      scores: one float per weight; larger is kept longer.
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).

    Raises:
      ValueError: sparsity out of range, or too high for the number of layers.
    """
    num_kept = kept_for(sparsity, layout.num_weights)
    return split(keep_top(join(protect(scores, layout, num_kept), layout), num_kept), layout)
