"""Gradient descent on a few inputs: each step its own batch, drawn from them and varied.

A few hundred fixed inputs are memorised, so every step mixes, mirrors and shifts what it draws.
Weights of a tensor are trained the faster the larger they are, as in Shazeer and Stern,
"Adafactor", ICML 2018: one rate suits perceptrons, ResNets and language models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jgaprune.training.gradient import gradient_of
from jgaprune.types import Array, Key, Params

Loss = Callable[[Params, Array], Array]
"""`params, inputs [B, ...] -> loss []`; a pytree (`jax.tree_util.Partial`)."""
Vary = Callable[[Key, Array], Array]
"""`key, inputs -> inputs`: a random variation of a batch; a module-level function."""
OnStep = Callable[[], None]
"""Called before every step."""
Groups = dict[str, Any]
"""What is trained: pytrees of arrays by name."""
Rates = dict[str, Any]
"""Learning rates at their highest, by group: one, or a pytree of them, each for a subtree."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Training:
    """Settings of Adam; learning rates rise for a tenth of the steps and decay along a cosine.

    Attributes:
      steps: of the optimiser.
      batch: inputs per step.
      score_rate: learning rate of mask scores at its highest, in log units.
      weight_rate: learning rate of weights at its highest, relative to the root mean square of
        those of their tensor that are not zero; 0 leaves them as they are.

    Raises:
      ValueError: no steps, no batch, or a negative rate.
    """

    steps: int = 1200
    batch: int = 32
    score_rate: float = 0.01
    weight_rate: float = 0.05

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or min(self.score_rate, self.weight_rate) < 0:
            raise ValueError(
                "steps and batch must be at least 1 and rates at least 0, got "
                f"{self.steps}, {self.batch}, {self.score_rate:g} and {self.weight_rate:g}."
            )

    def evaluations(self, num_inputs: int) -> int:
        """What it costs, in evaluations on `num_inputs`: a step counts as three forward passes.

        >>> Training(steps=800, batch=32).evaluations(512)
        150
        """
        return -(-3 * self.steps * min(self.batch, num_inputs) // num_inputs)


USUAL = Training()


def descend(
    loss: Callable[[Groups, Array], Array],
    start: Groups,
    inputs: Array,
    key: Key,
    *,
    rates: Rates,
    settings: Training,
    vary: Vary | None,
    on_step: OnStep | None = None,
) -> Groups:
    """Trains what `start` holds.

    Args:
      loss: `trained groups, batch -> loss []`; a pytree.
      start: what is trained.
      inputs: model inputs `[N, ...]` that batches are drawn from.
      key: of the batches.
      rates: of learning.
      settings: steps and batch.
      vary: applied to every batch.
      on_step: called before every step; what it raises ends the training.
    """
    plan = _Plan(settings, vary)
    groups = jax.tree.map(jnp.array, start)  # they are donated
    state = _optimizer(settings).init(groups)
    # One program per step, not one scan: gradients of convolutions are slow in loops on CPU.
    for step_key in jax.random.split(key, settings.steps):
        if on_step is not None:
            on_step()
        groups, state = _improve(groups, state, plan, loss, rates, inputs, step_key)
    return groups


def relative_rates(weights: Params, settings: Training) -> dict[str, Array]:
    """The learning rate of every tensor, in proportion to its weights.

    Args:
      weights: that are trained; zeros don't count, for most of them have been removed.
      settings: with the relative rate.
    """
    return {name: settings.weight_rate * _size(leaf) for name, leaf in weights.items()}


_LEAST = 0.01
"""Root mean square that tensors are taken to have at least: biases may start at zero."""


def _size(leaf: Array) -> Array:
    num_other = jnp.maximum(jnp.sum(leaf != 0), 1)
    square = jnp.sum(jnp.square(leaf.astype(jnp.float32))) / num_other
    return jnp.maximum(jnp.sqrt(square), _LEAST)


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    settings: Training
    vary: Vary | None


def _optimizer(settings: Training) -> optax.GradientTransformation:
    """Adam at a learning rate of 1 at most, which the rates scale."""
    num_warm = round(_WARM_UP * settings.steps)
    first = 1.0 / (num_warm + 1)  # a rate of 0 would waste a step
    schedule = optax.warmup_cosine_decay_schedule(first, 1.0, num_warm, settings.steps)
    return optax.adam(schedule)


_WARM_UP = 0.1
"""Part of the steps in which rates rise: at the full rate from the start, transformers diverge."""


@partial(jax.jit, static_argnames=("plan",), donate_argnames=("groups", "state"))
def _improve(
    groups: Groups,
    state: optax.OptState,
    plan: _Plan,
    loss: Callable[[Groups, Array], Array],
    rates: Rates,
    inputs: Array,
    key: Key,
) -> tuple[Groups, optax.OptState]:
    draw_key, vary_key = jax.random.split(key)
    size = min(plan.settings.batch, inputs.shape[0])
    batch = inputs[jax.random.choice(draw_key, inputs.shape[0], (size,), replace=False)]
    if plan.vary is not None:
        batch = plan.vary(vary_key, batch)
    gradient = gradient_of(loss)(groups, batch)
    updates, state = _optimizer(plan.settings).update(gradient, state)
    scaled = jax.tree.map(lambda rate, part: optax.tree.scale(rate, part), rates, updates)
    return optax.apply_updates(groups, scaled), state
