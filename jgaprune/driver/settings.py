"""The settings of a run for its report: what was asked for, and what was chosen."""

from typing import Any

import jax

from jgaprune.driver.budget import Budget
from jgaprune.driver.call import Call
from jgaprune.driver.devices import Devices
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.plan import Choices
from jgaprune.driver.racing import describe_racing
from jgaprune.driver.stages import Outcome
from jgaprune.engine import Screen
from jgaprune.types import Key


def describe_run(
    call: Call,
    choices: Choices,
    inputs: Inputs,
    outcome: Outcome,
    *,
    repair: str | None,
    train_steps: dict[str, int],
    distilled_from: dict[str, str],
    gradient_swaps: bool,
    screens: tuple[Screen, ...],
    budget: Budget,
    devices: Devices,
    key: Key,
) -> dict[str, Any]:
    """As JSON values.

    Args:
      call: of the run.
      choices: what it says evolves.
      inputs: of the run.
      outcome: of its stages.
      repair: its name; None for none.
      train_steps: of masks and of weights.
      distilled_from: by name of what was distilled, the weights it started from.
      gradient_swaps: whether mutations asked for a gradient.
      screens: of children; none where nothing raced.
      budget: of all stages.
      devices: on which it searched, and on how many islands.
      key: of the run.
    """
    first = outcome.notes[0]
    return {
        "sparsity": call.sparsity,
        "inputs": inputs.origin,
        "num_inputs": len(inputs.all),
        "num_held_out": len(inputs.held_out),
        "supplement": call.supplement,
        **dict(zip(choices._fields, choices.names(), strict=True)),
        "stages": outcome.notes,
        "repair": repair,
        "preset": call.preset,
        "train_steps": train_steps,
        "distilled_from": distilled_from,
        "gradient_swaps": gradient_swaps,
        "racing": describe_racing(screens, len(inputs.all)),
        "seeds": first["seeds"],
        **vars(budget),
        "population": call.population,
        "initial_population": outcome.initial,
        **devices.described(),
        "key": jax.random.key_data(key).tolist(),
        "key_impl": str(jax.random.key_impl(key)),
        "strategy": first["strategy"],
        "chunk": first["chunk"],
    }
