"""Scores trained by gradient: a mask's straight-through estimate on a label-free loss.

The forward pass uses the hard mask of the scores, one global threshold, exact budget; the
gradient with respect to each mask bit goes to its score as if mask and score were the same. The
weights stay as they are. Bengio et al., "Estimating or propagating gradients through stochastic
neurons", 2013; scores on frozen weights: Ramanujan et al., "What's hidden in a randomly weighted
neural network?", CVPR 2020.

Every step sees its own batch, drawn from the inputs, mixed, mirrored and shifted: a few hundred
fixed inputs are memorised otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jgaprune.masks import Layout, join, keep_top, kept_for, split
from jgaprune.saliency.one_shot import protect
from jgaprune.types import Array, Key, Params, Scores

Loss = Callable[[Params, Array], Array]
"""`masked params, inputs [B, ...] -> loss []`; a pytree (`jax.tree_util.Partial`)."""
Vary = Callable[[Key, Array], Array]
"""`key, inputs -> inputs`: a random variation of a batch; a module-level function."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Training:
    """Settings of the optimisation.

    Attributes:
      steps: Adam steps.
      batch: inputs per step.
      learning_rate: of Adam at the start, in log units; it decays to zero along a cosine.
    """

    steps: int = 200
    batch: int = 128
    learning_rate: float = 0.05

    def evaluations(self, num_inputs: int) -> int:
        """What it costs, in evaluations on `num_inputs`: a step counts as three forward passes.

        >>> Training(steps=200, batch=128).evaluations(512)
        150
        """
        return -(-3 * self.steps * self.batch // num_inputs)


def straight_through(
    loss: Loss,
    params: Params,
    start: Scores,
    layout: Layout,
    sparsity: float,
    inputs: Array,
    key: Key,
    *,
    settings: Training = Training(),
    vary: Vary | None = None,
) -> Scores:
    """Trains scores so that the mask they give lowers a loss.

    Args:
      loss: of masked parameters on a batch.
      params: of the dense network; they stay as they are.
      start: positive scores to start from, compared across layers.
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      inputs: model inputs `[N, ...]` that batches are drawn from.
      key: of the batches.
      settings: steps, batch and learning rate.
      vary: applied to every batch.

    Returns:
      Positive scores, `float32`; `one_shot` or a space makes masks of them.

    Raises:
      ValueError: sparsity out of range.
    """
    plan = _Plan(layout, kept_for(sparsity, layout.num_weights), settings, vary)
    scores = {name: _log(start[name]) for name in layout.names}
    state = _optimizer(settings).init(scores)
    # One program per step, not one scan: gradients of convolutions are slow in loops on CPU.
    for step_key in jax.random.split(key, settings.steps):
        scores, state = _improve(scores, state, plan, loss, params, inputs, step_key)
    return {name: jnp.exp(score - _TOP) for name, score in scores.items()}


_TOP = 20.0
"""Taken off the logarithms before they become scores, so that none of them overflows."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    num_kept: int
    settings: Training
    vary: Vary | None


def _log(scores: Array) -> Array:
    return jnp.log(jnp.clip(scores.astype(jnp.float32), 1e-12, 1e12))


def _optimizer(settings: Training) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.steps))


@partial(jax.jit, static_argnames=("plan",), donate_argnames=("scores", "state"))
def _improve(
    scores: Scores, state, plan: _Plan, loss: Loss, params: Params, inputs: Array, key: Key
) -> tuple[Scores, optax.OptState]:
    draw_key, vary_key = jax.random.split(key)
    size = min(plan.settings.batch, inputs.shape[0])
    batch = inputs[jax.random.choice(draw_key, inputs.shape[0], (size,), replace=False)]
    if plan.vary is not None:
        batch = plan.vary(vary_key, batch)
    gradient = jax.grad(partial(_loss, plan, loss, params, batch))(scores)
    updates, state = _optimizer(plan.settings).update(gradient, state)
    return optax.apply_updates(scores, updates), state


def _loss(plan: _Plan, loss: Loss, params: Params, batch: Array, scores: Scores) -> Array:
    kept = protect(jax.lax.stop_gradient(scores), plan.layout, plan.num_kept)
    hard = split(keep_top(join(kept, plan.layout), plan.num_kept), plan.layout)
    masked = {
        name: params[name] * (jax.lax.stop_gradient(hard[name] - scores[name]) + scores[name])
        for name in plan.layout.names
    }
    return loss({**params, **masked}, batch)
