"""Masks trained by gradient: the straight-through estimate on a label-free loss.

The forward pass uses the hard mask of the scores, one global threshold, exact budget; the
gradient with respect to each mask bit goes to its score as if mask and score were the same.
Bengio et al., "Estimating or propagating gradients through stochastic neurons", 2013; scores on
frozen weights: Ramanujan et al., "What's hidden in a randomly weighted neural network?", CVPR
2020; weights trained along with the scores: Sanh et al., "Movement pruning", NeurIPS 2020.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.masks import Layout, join, keep_top, kept_for, split
from jgaprune.saliency import protect
from jgaprune.training.descent import (
    USUAL,
    Groups,
    Loss,
    OnStep,
    Training,
    Vary,
    descend,
    relative_rates,
)
from jgaprune.training.distil import split_trainable
from jgaprune.types import Array, Key, Masks, Params, Scores


class Trained(NamedTuple):
    """What training found.

    Attributes:
      scores: positive, `float32`; `saliency.one_shot` or a space makes masks of them.
      params: the parameters that go with them, unmasked; those given where only scores were
        trained.
    """

    scores: Scores
    params: Params


def straight_through(
    loss: Loss,
    params: Params,
    start: Scores,
    layout: Layout,
    sparsity: float,
    inputs: Array,
    key: Key,
    *,
    settings: Training = USUAL,
    vary: Vary | None = None,
    on_step: OnStep | None = None,
) -> Trained:
    """Trains scores, and weights with them, so that the masked network lowers a loss.

    Args:
      loss: of masked parameters on a batch, such as `imitation(model)`.
      params: to start from, unmasked.
      start: positive scores to start from, compared across layers.
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      inputs: model inputs `[N, ...]` that batches are drawn from.
      key: of the batches.
      settings: steps, batch and learning rates; a `weight_rate` of 0 leaves the weights alone.
      vary: applied to every batch.
      on_step: called before every step; what it raises ends the training.

    Raises:
      ValueError: sparsity out of range.
    """
    plan = _Plan(layout, kept_for(sparsity, layout.num_weights))
    trained, fixed = split_trainable(params) if settings.weight_rate else ({}, params)
    groups = descend(
        Partial(_loss, plan, loss, fixed),
        {"scores": {name: _log(start[name]) for name in layout.names}, "weights": trained},
        inputs,
        key,
        rates={"scores": settings.score_rate, "weights": relative_rates(trained, settings)},
        settings=settings,
        vary=vary,
        on_step=on_step,
    )
    scores = {name: jnp.exp(score - _TOP) for name, score in groups["scores"].items()}
    return Trained(scores, {**fixed, **groups["weights"]})


_TOP = 20.0
"""Taken off the logarithms before they become scores, so that none of them overflows."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    num_kept: int


def _log(scores: Array) -> Array:
    return jnp.log(jnp.clip(scores.astype(jnp.float32), 1e-12, 1e12))


def _loss(plan: _Plan, loss: Loss, fixed: Params, groups: Groups, batch: Array) -> Array:
    params, scores = {**fixed, **groups["weights"]}, groups["scores"]
    hard = _hard(plan, jax.lax.stop_gradient(scores))
    masked = {
        name: params[name] * (jax.lax.stop_gradient(hard[name] - scores[name]) + scores[name])
        for name in plan.layout.names
    }
    return loss({**params, **masked}, batch)


def _hard(plan: _Plan, scores: Scores) -> Masks:
    kept = protect(scores, plan.layout, plan.num_kept)
    return split(keep_top(join(kept, plan.layout), plan.num_kept), plan.layout)
