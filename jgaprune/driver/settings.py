"""The settings of a run for its report: what was asked for, and what was chosen."""

from typing import Any

import jax

from jgaprune.driver.budget import Budget
from jgaprune.driver.devices import Devices
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.plan import Choices
from jgaprune.driver.racing import describe_racing
from jgaprune.driver.stages import Outcome
from jgaprune.engine import Screen
from jgaprune.types import Key


def describe_run(
    choices: Choices,
    inputs: Inputs,
    outcome: Outcome,
    *,
    sparsity: float,
    supplement: bool,
    repair: str | None,
    preset: str,
    train_steps: dict[str, int],
    gradient_swaps: bool,
    screens: tuple[Screen, ...],
    budget: Budget,
    population: int | None,
    devices: Devices,
    key: Key,
) -> dict[str, Any]:
    """As JSON values.

    Args:
      choices: of the caller.
      inputs: of the run.
      outcome: of its stages.
      sparsity: fraction to remove.
      supplement: whether synthesised inputs might join given ones.
      repair: its name; None for none.
      preset: its name.
      train_steps: of masks and of weights.
      gradient_swaps: whether mutations asked for a gradient.
      screens: of children; none where nothing raced.
      budget: of all stages.
      population: that the caller asked for.
      devices: on which it searched, and on how many islands.
      key: of the run.
    """
    first = outcome.notes[0]
    return {
        "sparsity": sparsity,
        "inputs": inputs.origin,
        "num_inputs": len(inputs.all),
        "num_held_out": len(inputs.held_out),
        "supplement": supplement,
        **dict(zip(choices._fields, choices.names(), strict=True)),
        "stages": outcome.notes,
        "repair": repair,
        "preset": preset,
        "train_steps": train_steps,
        "gradient_swaps": gradient_swaps,
        "racing": describe_racing(screens, len(inputs.all)),
        "seeds": first["seeds"],
        **vars(budget),
        "population": population,
        "initial_population": outcome.initial,
        **devices.described(),
        "key": jax.random.key_data(key).tolist(),
        "key_impl": str(jax.random.key_impl(key)),
        "strategy": first["strategy"],
        "chunk": first["chunk"],
    }
