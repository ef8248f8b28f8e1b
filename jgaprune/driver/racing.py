"""Racing for `prune`: the run's own objective and repair on a few of its inputs, as a `Screen`."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.driver.choices import choose_objective
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.plan import Plan
from jgaprune.driver.wiring import inputs_to_score, make_repair
from jgaprune.engine import Screen
from jgaprune.model import Model
from jgaprune.types import Array, Objective, Repair


@dataclass(frozen=True)
class Racing:
    """How children race for a full evaluation.

    Attributes:
      look_fraction: share of the inputs on which every child is looked at, in (0, 1).
      survivor_fraction: share of the children that are evaluated on all inputs, in (0, 1).
    """

    look_fraction: float = 1 / 8
    survivor_fraction: float = 1 / 4

    def faults(self) -> list[str]:
        """What is wrong with it, in words.

        >>> Racing(look_fraction=8).faults()
        ['look_fraction must be in (0, 1), got 8']
        """
        return [
            f"{name} must be in (0, 1), got {value:g}"
            for name, value in vars(self).items()
            if not 0 < value < 1
        ]


def make_screen(
    model: Model,
    racing: bool | Racing,
    plan: Plan,
    objective: str | Objective,
    inputs: Inputs,
    labels: Array | np.ndarray | None,
    repair: str | Repair,
    varied: Array | None = None,
) -> Screen | None:
    """The screen of a run; None where nothing races.

    A look is the run's objective after the run's repair, with the dense network's statistics and
    outputs taken from the same few inputs. Its cost is their share of all inputs; decoding and
    masking a survivor twice is not counted.

    Args:
      model: the dense network.
      racing: whether children race, or the shares.
      plan: what evolves.
      objective: by name.
      inputs: of the run, `[N, ...]`.
      labels: `int [N]`, for the objectives that need them.
      repair: of the run, by name.
      varied: the run's inputs as its repair shows them to the objective, `[N, ...]`; None for
        the inputs themselves.
    """
    if racing is False:
        return None
    racing = Racing() if racing is True else racing
    seen, indices = look(inputs, racing.look_fraction)
    targets = None if labels is None else jnp.asarray(labels)[indices]
    used_repair = make_repair(model, seen, repair, None if varied is None else varied[indices])
    shown = inputs_to_score(seen, repair, used_repair)
    return Screen(
        choose_objective(objective, model, shown, targets, used_repair),
        survivors=_num_survivors(racing, _num_children(plan)),
        cost=len(indices) / len(inputs.all),
    )


def look(inputs: Inputs, fraction: float) -> tuple[Inputs, np.ndarray]:
    """The inputs of a look, and which ones they are.

    The same share of those that the repair works on and of the rest, each evenly strided and at
    least one where there are any: what comes sorted is still represented.

    Args:
      inputs: of the run, `[N, ...]`.
      fraction: of them, in 0..1.

    Returns:
      The chosen inputs `[n, ...]`, and their indices `int [n]`, ascending.

    >>> seen, indices = look(Inputs(jnp.zeros((20, 3)), 16, "given"), 1 / 4)
    >>> indices.tolist(), seen.num_for_repair
    ([0, 4, 8, 12, 16], 4)
    """
    repaired = _strided(inputs.num_for_repair, fraction)
    rest = inputs.num_for_repair + _strided(len(inputs.all) - inputs.num_for_repair, fraction)
    indices = np.concatenate([repaired, rest])
    return inputs._replace(all=inputs.all[indices], num_for_repair=len(repaired)), indices


def describe_racing(screen: Screen | None, num_inputs: int) -> dict[str, float] | None:
    """The screen's numbers for the settings; None where nothing races."""
    if screen is None:
        return None
    return {
        "look_inputs": round(screen.cost * num_inputs),
        "survivors": screen.survivors,
        "cost": screen.cost,
    }


def _strided(count: int, fraction: float) -> np.ndarray:
    """Evenly spaced indices below `count`."""
    num = min(count, max(1, round(fraction * count)))
    return np.arange(num) * count // max(1, num)


def _num_survivors(racing: Racing, children: int) -> int:
    """At least one, and not all where there are several."""
    asked = round(racing.survivor_fraction * children)
    return max(1, min(asked, children - 1))


def _num_children(plan: Plan) -> int:
    """Children of the first generation; nothing is computed."""

    def first_generation(key):
        genomes = jax.vmap(plan.space.sample)(jax.random.split(key, plan.initial))
        state = plan.evolver.init(key, genomes, jnp.zeros(plan.initial))
        return plan.evolver.ask(key, state)[0]

    genomes = jax.eval_shape(first_generation, jax.random.key(0))
    return int(jax.tree.leaves(genomes)[0].shape[0])
