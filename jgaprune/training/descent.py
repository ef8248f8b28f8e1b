"""Gradient descent on a few inputs: each step its own batch, drawn from them and varied.

A few hundred fixed inputs are memorised, so every step mixes, mirrors and shifts what it draws.
"""

from collections.abc import Callable, Mapping
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
"""What is trained: pytrees of arrays by name, each with its own learning rate."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Training:
    """Settings of Adam; learning rates decay to zero along a cosine.

    Attributes:
      steps: of the optimiser.
      batch: inputs per step.
      score_rate: learning rate of mask scores at the start, in log units.
      weight_rate: learning rate of weights at the start; 0 leaves them as they are.

    Raises:
      ValueError: no steps, no batch, or a negative rate.
    """

    steps: int = 300
    batch: int = 128
    score_rate: float = 0.02
    weight_rate: float = 0.003

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or min(self.score_rate, self.weight_rate) < 0:
            raise ValueError(
                "steps and batch must be at least 1 and rates at least 0, got "
                f"{self.steps}, {self.batch}, {self.score_rate:g} and {self.weight_rate:g}."
            )

    def evaluations(self, num_inputs: int) -> int:
        """What it costs, in evaluations on `num_inputs`: a step counts as three forward passes.

        >>> Training(steps=200, batch=128).evaluations(512)
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
    rates: Mapping[str, float],
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
      rates: the learning rate of each group at the start.
      settings: steps and batch.
      vary: applied to every batch.
      on_step: called before every step; what it raises ends the training.
    """
    plan = _Plan(tuple(sorted(rates.items())), settings, vary)
    groups = jax.tree.map(jnp.array, start)  # they are donated
    state = _optimizer(settings).init(groups)
    # One program per step, not one scan: gradients of convolutions are slow in loops on CPU.
    for step_key in jax.random.split(key, settings.steps):
        if on_step is not None:
            on_step()
        groups, state = _improve(groups, state, plan, loss, inputs, step_key)
    return groups


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    rates: tuple[tuple[str, float], ...]
    settings: Training
    vary: Vary | None


def _optimizer(settings: Training) -> optax.GradientTransformation:
    """Adam at a learning rate of 1, which every group scales."""
    return optax.adam(optax.cosine_decay_schedule(1.0, settings.steps))


@partial(jax.jit, static_argnames=("plan",), donate_argnames=("groups", "state"))
def _improve(
    groups: Groups, state: optax.OptState, plan: _Plan, loss, inputs: Array, key: Key
) -> tuple[Groups, optax.OptState]:
    draw_key, vary_key = jax.random.split(key)
    size = min(plan.settings.batch, inputs.shape[0])
    batch = inputs[jax.random.choice(draw_key, inputs.shape[0], (size,), replace=False)]
    if plan.vary is not None:
        batch = plan.vary(vary_key, batch)
    gradient = gradient_of(loss)(groups, batch)
    updates, state = _optimizer(plan.settings).update(gradient, state)
    scaled = {
        name: jax.tree.map(lambda update, rate=rate: rate * update, updates[name])
        for name, rate in plan.rates
    }
    return optax.apply_updates(groups, scaled), state
