"""The last step of a run: the winner, chosen on inputs that nothing has seen before.

The best fitness of a search is the best of many, on inputs that the weights were fitted to. So
the best masks found and the best seeds, and the winner of them after its weights were distilled,
meet once more on inputs held out from everything.
"""

from functools import partial
from typing import NamedTuple

import jax
from jax.tree_util import Partial

from jgaprune.driver.choices import choose_objective
from jgaprune.driver.contenders import contenders, fittest
from jgaprune.driver.ground import Ground
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.measure import Judge, decoded, fitness_of, repaired
from jgaprune.driver.progress import OnRecord, Progress, ignore
from jgaprune.driver.progression import Progression
from jgaprune.driver.seeding import Seeding
from jgaprune.driver.train import distilled
from jgaprune.report import Measure
from jgaprune.types import Array, Buffers, Key, Masks, Objective, Params, Repair

_IMITATION = "output_distance"
"""What the choice goes by where the objective is the caller's own."""
_UNDISTILLED = "The run was interrupted: its weights are not distilled."


class Result(NamedTuple):
    """What a run returns.

    Attributes:
      masks: of the winner.
      params: its weights.
      buffers: its statistics.
      winner: its name.
      measures: by name, fitness on the inputs held out, and accuracy.
      interrupted: whether distilling was.
      warnings: why nothing was distilled where it was to be expected.
    """

    masks: Masks
    params: Params
    buffers: Buffers
    winner: str
    measures: dict[str, Measure]
    interrupted: bool = False
    warnings: tuple[str, ...] = ()


def finish_run(
    ground: Ground,
    start: Seeding,
    objective: str | Objective,
    done: Progression,
    key: Key,
    *,
    with_seeds: bool,
    tell: OnRecord,
) -> Result:
    """The result of a search; an interrupt leaves it as the search found it.

    Args:
      ground: of the run.
      start: what the search started from.
      objective: of the run, by name or the caller's own.
      done: what the search found; is told of an interrupt.
      key: of training.
      with_seeds: whether the best seeds may win, too.
      tell: what the run is watched by.
    """
    found = {"evolved": decoded(done.space, done.genome)}
    seeds = contenders(start.baselines) if with_seeds and isinstance(objective, str) else ()
    candidates = found | {name: start.masks[name] for name in seeds}
    choose = partial(
        finish,
        ground.judge,
        objective if isinstance(objective, str) else _IMITATION,
        inputs=ground.inputs,
        key=key,
    )
    try:
        tell(Progress("finish"))
        steps = 0 if done.interrupted else start.steps.weights
        result = choose(candidates, steps=steps, tell=tell)
    except KeyboardInterrupt:
        result = choose(found, steps=0)._replace(interrupted=True)
    done.interrupted |= result.interrupted
    skipped = done.interrupted and start.steps.weights and not result.warnings
    return result._replace(warnings=(_UNDISTILLED,)) if skipped else result


def finish(
    judge: Judge,
    objective: str,
    candidates: dict[str, Masks],
    inputs: Inputs,
    steps: int,
    key: Key,
    tell: OnRecord = ignore,
) -> Result:
    """Chooses among candidates, distils the winner, and keeps that if it is better.

    Args:
      judge: of the run.
      objective: by which it is chosen.
      candidates: masks by name; where nothing is better, the first.
      inputs: of the run; without any held out nothing is chosen, and so nothing distilled.
      steps: of training; 0 leaves it out.
      key: of training.
      tell: what the run is watched by; what it raises ends the training.
    """
    entries: dict[str, tuple[Masks, Params, Buffers]] = {
        name: (masks, *repaired(judge.model, judge.repair, masks))
        for name, masks in candidates.items()
    }
    measures = {
        name: _measure(judge, objective, inputs.held_out, *one) for name, one in entries.items()
    }
    winner = fittest(measures)
    chosen = Result(*entries[winner], winner, measures)
    if not steps:
        return chosen
    if not len(inputs.held_out):
        few = "No inputs could be held out to judge distilled weights by: nothing was distilled."
        return chosen._replace(warnings=(few,))
    try:
        return _distilled(judge, objective, chosen, inputs, steps, key, tell)
    except KeyboardInterrupt:
        return chosen._replace(interrupted=True, warnings=(_UNDISTILLED,))


def _distilled(
    judge: Judge,
    objective: str,
    chosen: Result,
    inputs: Inputs,
    steps: int,
    key: Key,
    tell: OnRecord,
) -> Result:
    """The same with weights distilled if these are better; both are measured."""
    weights = distilled(
        judge.model,
        (chosen.params, chosen.buffers),
        chosen.masks,
        inputs,
        steps,
        key,
        on_step=lambda: tell(Progress("finish")),
    )
    name = f"{chosen.winner}, distilled"
    measure = _measure(judge, objective, inputs.held_out, chosen.masks, *weights)
    measures = {**chosen.measures, name: measure}
    if fittest({one: measures[one] for one in (chosen.winner, name)}) == name:
        chosen = chosen._replace(params=weights[0], buffers=weights[1], winner=name)
    return chosen._replace(measures=measures)


def _measure(
    judge: Judge,
    objective: str,
    held_out: Array | tuple[()],
    masks: Masks,
    params: Params,
    buffers: Buffers,
) -> Measure:
    """Of finished weights: nothing is repaired any more."""
    fitness = None
    if isinstance(held_out, jax.Array) and len(held_out):
        as_is = Repair(held_out, Partial(_as_is, judge.model.apply, held_out, params, buffers))
        score = choose_objective(objective, judge.model, held_out, None, as_is)
        fitness = fitness_of(score, judge.key, masks)
    return judge.measure_weights(params, buffers, fitness)


def _as_is(apply, held_out: Array, params: Params, buffers: Buffers, *masked):
    return apply(params, buffers, held_out), params, buffers
