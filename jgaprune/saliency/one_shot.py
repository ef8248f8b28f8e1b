"""From scores to masks: one global threshold, exact budget, no layer left empty."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from jgaprune.masks import Layout, join, keep_top, kept_for, split
from jgaprune.types import Array, Masks, Scores

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
    return _protected(scores, layout, minimum_per_layer(layout, num_kept))


def _protected(scores: Scores, layout: Layout, minima: tuple[int, ...]) -> Scores:
    return {
        name: jnp.where(
            keep_top(scores[name].reshape(-1), minimum).reshape(scores[name].shape),
            jnp.inf,
            scores[name],
        )
        for name, minimum in zip(layout.names, minima, strict=True)
    }


def ranked(scores: Scores, layout: Layout, sparsity: float) -> Scores:
    """Scores in the same order on a scale of their own: the budget over the rank.

    Args:
      scores: one float per weight; larger is kept longer.
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).

    Returns:
      `float32`, at least 1 for the weights that one threshold for all would keep, by leaf name.

    >>> layout = Layout(("w",), ((4,),))
    >>> ranked({"w": jnp.array([0.1, 9.0, 0.0, 0.5])}, layout, 0.5)["w"].tolist()
    [0.6666666865348816, 2.0, 0.5, 1.0]
    """
    flat = join(scores, layout)
    order = jnp.argsort(-flat, stable=True)
    ranks = jnp.zeros(flat.shape, jnp.float32).at[order].set(jnp.arange(1.0, flat.size + 1))
    return split(kept_for(sparsity, layout.num_weights) / ranks, layout)


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
    minima = minimum_per_layer(layout, num_kept)
    return _one_shot(scores, layout, minima, jnp.int32(num_kept))


@partial(jax.jit, static_argnames=("layout", "minima"))  # else every layer compiles its own steps
def _one_shot(scores: Scores, layout: Layout, minima: tuple[int, ...], num_kept: Array) -> Masks:
    return split(keep_top(join(_protected(scores, layout, minima), layout), num_kept), layout)
