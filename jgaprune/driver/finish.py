"""The last step of a run: the winner, chosen on inputs that nothing has seen before.

The best fitness of a search is the best of many, on inputs that the weights were fitted to. So
the best masks found and the best seeds, and the winner of them after its weights were distilled,
meet once more on inputs held out from everything.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.driver.choices import choose_objective
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.measure import Judge, fitness_of, repaired
from jgaprune.driver.train import distilled
from jgaprune.report import Baseline, Measure
from jgaprune.types import Array, Buffers, Key, Masks, Objective, Params, Repair

_HELD_OUT = 8
"""One input of so many is held out."""


class Result(NamedTuple):
    """What a run returns.

    Attributes:
      masks: of the winner.
      params: its weights.
      buffers: its statistics.
      winner: its name.
      measures: by name, fitness on the inputs held out, and accuracy.
    """

    masks: Masks
    params: Params
    buffers: Buffers
    winner: str
    measures: dict[str, Measure]


def finish(
    judge: Judge,
    objective: str | Objective,
    candidates: dict[str, Masks],
    inputs: Inputs,
    steps: int,
    key: Key,
) -> Result:
    """Chooses among candidates, distils the winner, and keeps that if it is better.

    Args:
      judge: of the run.
      objective: by name, or the caller's own, by which nothing is chosen.
      candidates: masks by name; where nothing is better, the first.
      inputs: of the run; without any held out nothing is chosen.
      steps: of training; 0 leaves it out.
      key: of training.
    """
    entries: dict[str, tuple[Masks, Params, Buffers]] = {
        name: (masks, *repaired(judge.model, judge.repair, masks))
        for name, masks in candidates.items()
    }
    measures = {
        name: _measure(judge, objective, inputs.held_out, *one) for name, one in entries.items()
    }
    winner = _best(measures)
    if steps:
        masks, params, buffers = entries[winner]
        name = f"{winner}, distilled"
        entries[name] = (
            masks,
            *distilled(judge.model, (params, buffers), masks, inputs, steps, key),
        )
        measures[name] = _measure(judge, objective, inputs.held_out, *entries[name])
        winner = _best({one: measures[one] for one in (winner, name)})
    masks, params, buffers = entries[winner]
    return Result(masks, params, buffers, winner, measures)


def best_of(baselines: dict[str, Baseline]) -> str:
    """The one-shot masks of the best fitness after the repair, by name."""
    return _best({name: one.repaired for name, one in baselines.items()})


def contenders(baselines: dict[str, Baseline]) -> tuple[str, ...]:
    """The best one-shot masks, and if these were trained by gradient the best of the others.

    What was trained on inputs is fitted to them the most.
    """
    untrained = {name: one for name, one in baselines.items() if name != "straight_through"}
    return tuple(dict.fromkeys((best_of(baselines), best_of(untrained))))


def hold_out(inputs: Inputs, key: Key) -> Inputs:
    """Holds out an eighth of the inputs, of those for the repair and of the others alike."""
    parts = jnp.split(jnp.arange(len(inputs.all)), [inputs.num_for_repair])
    divided = [_divided(part, one) for part, one in zip(parts, jax.random.split(key), strict=True)]
    kept, held_out = (jnp.concatenate(one) for one in zip(*divided, strict=True))
    return inputs._replace(
        all=inputs.all[kept],
        num_for_repair=len(divided[0][0]),
        held_out=inputs.all[held_out],
    )


def _divided(indices: Array, key: Key) -> tuple[Array, Array]:
    """Most of the indices in their order, and a random few."""
    few = len(indices) // _HELD_OUT
    drawn = jax.random.permutation(key, len(indices))
    return indices[jnp.sort(drawn[few:])], indices[drawn[:few]]


def _measure(
    judge: Judge,
    objective: str | Objective,
    held_out: Array | tuple[()],
    masks: Masks,
    params: Params,
    buffers: Buffers,
) -> Measure:
    """Of finished weights: nothing is repaired any more."""
    fitness = None
    if isinstance(objective, str) and isinstance(held_out, jax.Array) and len(held_out):
        as_is = Repair(held_out, Partial(_as_is, judge.model.apply, held_out, params, buffers))
        score = choose_objective(objective, judge.model, held_out, None, as_is)
        fitness = fitness_of(score, judge.key, masks)
    return judge.measure_weights(params, buffers, fitness)


def _as_is(apply, held_out: Array, params: Params, buffers: Buffers, *masked):
    return apply(params, buffers, held_out), params, buffers


def _best(measures: dict[str, Measure]) -> str:
    def rank(name: str) -> float:
        fitness = measures[name].fitness
        return math.inf if fitness is None or math.isnan(fitness) else fitness

    return min(measures, key=rank)
