"""Racing for `prune`: the run's own objective and repair on a few of its inputs, as screens."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    """How children race for a full evaluation, or for the next look.

    Attributes:
      look_fraction: share of the inputs on which children are looked at, in (0, 1).
      survivor_fraction: share of all children that go on, in (0, 1).
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


Looks = bool | Racing | Sequence[Racing]
"""What `prune(racing=...)` takes: whether children race, one look, or several in turn."""


def looks_of(racing: Looks) -> tuple[Racing, ...]:
    """The looks that are asked for; none where nothing races."""
    if isinstance(racing, bool):
        return (Racing(),) if racing else ()
    return (racing,) if isinstance(racing, Racing) else tuple(racing)


def racing_faults(racing: object) -> list[str]:
    """What is wrong with the looks that are asked for, each alone and one after another.

    >>> racing_faults((Racing(1 / 4, 1 / 4), Racing(1 / 8, 1 / 8)))
    ['look_fraction must grow from look to look, got 0.125 after 0.25']
    """
    given = racing if isinstance(racing, list | tuple) and racing else [racing]
    if not isinstance(racing, bool) and not all(isinstance(one, Racing) for one in given):
        return [f"racing must be True, False, a Racing or a sequence of them, got {racing!r}"]
    looks = looks_of(racing)  # type: ignore[arg-type]
    faults = [fault for one in looks for fault in one.faults()]
    for before, after in pairwise(looks):
        if after.look_fraction <= before.look_fraction:
            faults.append(
                f"look_fraction must grow from look to look, got {after.look_fraction:g} after "
                f"{before.look_fraction:g}"
            )
        if after.survivor_fraction >= before.survivor_fraction:
            faults.append(
                "survivor_fraction, a share of all children, must fall from look to look, got "
                f"{after.survivor_fraction:g} after {before.survivor_fraction:g}"
            )
    return faults


def make_screens(
    model: Model,
    racing: Looks,
    plan: Plan,
    objective: str | Objective,
    inputs: Inputs,
    labels: Array | np.ndarray | None,
    repair: str | Repair,
    varied: Array | None = None,
) -> tuple[Screen, ...]:
    """The screens of a run, in their order; none where nothing races.

    A look is the run's objective after the run's repair, with the dense network's statistics and
    outputs taken from the same few inputs. Its cost is their share of all inputs; decoding and
    masking a survivor again is not counted. Where few inputs or children make two looks see or
    leave as many, one of them is left out.

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

    def screen(seen: Inputs, indices: np.ndarray, survivors: int) -> Screen:
        targets = None if labels is None else jnp.asarray(labels)[indices]
        shown = None if varied is None else varied[indices]
        used_repair = make_repair(model, seen, repair, shown)
        scored = inputs_to_score(seen, repair, used_repair)
        return Screen(
            choose_objective(objective, model, scored, targets, used_repair),
            survivors=survivors,
            cost=len(indices) / len(inputs.all),
        )

    looks = looks_of(racing)
    if not looks:
        return ()
    children = _num_children(plan)
    survivors = [_num_survivors(one, children) for one in looks]
    sights = nested(inputs, [one.look_fraction for one in looks])
    useful = _useful([len(indices) for _, indices in sights], survivors)
    return tuple(screen(*sights[index], survivors[index]) for index in useful)


def nested(inputs: Inputs, fractions: Sequence[float]) -> list[tuple[Inputs, np.ndarray]]:
    """The inputs of looks on growing shares, each among those of the next.

    So a later look adds inputs to those that a candidate has been chosen on.

    Args:
      inputs: of the run, `[N, ...]`.
      fractions: of them, growing.

    Returns:
      As `look`, for every fraction.

    >>> few, more = nested(Inputs(jnp.zeros((16, 3)), 16, "given"), (1 / 8, 3 / 8))
    >>> few[1].tolist(), more[1].tolist()
    ([0, 8], [0, 2, 5, 8, 10, 13])
    """
    sights = [look(inputs, fractions[-1])]
    for fraction, larger in reversed(list(pairwise(fractions))):
        seen, indices = sights[0]
        fewer, chosen = look(seen, fraction / larger)
        sights.insert(0, (fewer, indices[chosen]))
    return sights


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


def describe_racing(screens: Sequence[Screen], num_inputs: int) -> list[dict[str, float]]:
    """The numbers of every look; none where nothing races."""
    return [
        {
            "look_inputs": round(screen.cost * num_inputs),
            "survivors": screen.survivors,
            "cost": screen.cost,
        }
        for screen in screens
    ]


def _useful(num_inputs: Sequence[int], survivors: Sequence[int]) -> list[int]:
    """Which looks see more than those before and leave fewer."""
    useful: list[int] = []
    for index in range(len(survivors)):
        if useful and survivors[index] >= survivors[useful[-1]]:
            continue
        if useful and num_inputs[index] <= num_inputs[useful[-1]]:
            useful.pop()
        useful.append(index)
    return useful


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
