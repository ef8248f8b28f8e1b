"""The last step of a run: the winner, chosen on inputs that nothing has seen before.

The best fitness of a search is the best of many, on inputs that the weights were fitted to. So
the best masks found and the best seeds meet once more on inputs held out from everything. For masks
that are worse than others may be better once their weights are distilled, several are: the best as
refitted, the best with the weights that distilling starts from, and the best one-shot ones. Few
inputs are held out: variations of them join them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.driver.choices import choose_objective
from jgaprune.driver.contenders import best_untrained, contenders, fittest
from jgaprune.driver.ground import Ground
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.measure import Judge, decoded, fitness_of, repaired
from jgaprune.driver.progress import OnRecord, Progress, ignore, stepwise
from jgaprune.driver.progression import Progression
from jgaprune.driver.seeding import Seeding
from jgaprune.driver.starts import Entry, choose_starts
from jgaprune.driver.train import distilled, with_statistics
from jgaprune.inputs import variation_of
from jgaprune.model import Model
from jgaprune.report import Measure
from jgaprune.training import OnStep
from jgaprune.types import Array, Buffers, Key, Masks, Objective, Params, Repair

_IMITATION = "output_distance"
"""What the choice goes by where the objective is the caller's own."""
_VARIATIONS = 7
"""Of every input held out: an eighth is held out, so the choice sees as many as the search."""
_CUT_SHORT = "The run was interrupted: not all that might have been chosen was distilled."
_UNDISTILLED = "The run was interrupted: its weights are not distilled."


class Result(NamedTuple):
    """What a run returns.

    Attributes:
      masks: of the winner.
      params: its weights.
      buffers: its statistics.
      winner: its name.
      measures: by name, fitness on the inputs held out with variations of them, and accuracy.
      distilled_from: by name of what was distilled, "refitted" or "trained" weights.
      interrupted: whether distilling was.
      warnings: why nothing was distilled where it was to be expected.
    """

    masks: Masks
    params: Params
    buffers: Buffers
    winner: str
    measures: dict[str, Measure]
    distilled_from: dict[str, str]
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
    also = (best_untrained(start.baselines),) if seeds else ()
    choose = partial(
        finish,
        ground.judge,
        objective if isinstance(objective, str) else _IMITATION,
        inputs=ground.inputs,
        key=key,
        trained=start.trained,
    )
    try:
        tell(Progress("finish"))
        steps = 0 if done.interrupted else start.steps.weights
        result = choose(candidates, also=also, steps=steps, tell=tell)
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
    *,
    steps: int,
    key: Key,
    also: Sequence[str] = (),
    tell: OnRecord = ignore,
    trained: Params | None = None,
) -> Result:
    """Chooses among candidates, distils the best and others, and keeps what is best then.

    Args:
      judge: of the run.
      objective: by which it is chosen.
      candidates: masks by name; where nothing is better, the first.
      inputs: of the run; without any held out nothing is chosen, and so nothing distilled.
        What is held out is varied, too.
      steps: of training; 0 leaves it out.
      key: of training, and of variations.
      also: candidates to distil besides the best ones.
      tell: what the run is watched by; what it raises ends the training.
      trained: weights to start distilling from where they are fitter than repaired ones.
    """
    shown_key, start_key, train_key = jax.random.split(key, 3)
    fitness = partial(_fitness, judge, objective, _shown(judge.model, inputs.held_out, shown_key))
    measure = partial(_measure, judge, fitness)
    entries: dict[str, Entry] = {
        name: (masks, *repaired(judge.model, judge.repair, masks))
        for name, masks in candidates.items()
    }
    measures = {name: measure(*one) for name, one in entries.items()}
    winner = fittest(measures)
    chosen = Result(*entries[winner], winner, measures, {})
    if not steps:
        return chosen
    if not len(inputs.held_out):
        few = "No inputs could be held out to judge distilled weights by: nothing was distilled."
        return chosen._replace(warnings=(few,))
    try:
        other = _with_trained(judge.model, trained, inputs, start_key)
        starts = choose_starts(entries, measures, other, fitness)
        fit = fittest({name: one.worth for name, one in starts.items()})
        for name in dict.fromkeys((winner, fit, *also)):
            entry, _, origin = starts[name]
            on_step = stepwise(tell, "finish", steps, f"distilling {name}, ")
            entry = _distilled(judge.model, entry, inputs, steps, train_key, on_step)
            chosen = _better(measure, chosen, name, entry, origin)
    except KeyboardInterrupt:
        is_distilled = chosen.winner != winner
        chosen = chosen._replace(
            interrupted=True, warnings=(_CUT_SHORT if is_distilled else _UNDISTILLED,)
        )
    return chosen


def _with_trained(
    model: Model, params: Params | None, inputs: Inputs, key: Key
) -> Callable[[Masks], Entry] | None:
    """What joins masks and the weights that were trained along with some, if any were."""
    if params is None:
        return None
    corrected = with_statistics(model, inputs, key)
    return lambda masks: (masks, *corrected(params, masks))


def _distilled(
    model: Model, entry: Entry, inputs: Inputs, steps: int, key: Key, on_step: OnStep
) -> Entry:
    """The same masks, with weights trained further."""
    masks, params, _ = entry
    return masks, *distilled(model, params, masks, inputs, steps, key, on_step=on_step)


def _better(
    measure: Callable[..., Measure], chosen: Result, name: str, entry: Entry, origin: str
) -> Result:
    """What was chosen so far, or the distilled entry if it is better; both are measured."""
    distilled = f"{name}, distilled"
    measures = {**chosen.measures, distilled: measure(*entry)}
    known = {**chosen.distilled_from, name: origin}
    if fittest({one: measures[one] for one in (chosen.winner, distilled)}) == distilled:
        return Result(*entry, distilled, measures, known)
    return chosen._replace(measures=measures, distilled_from=known)


def _shown(model: Model, held_out: Array | tuple[()], key: Key) -> Array | tuple[()]:
    """The inputs held out, and variations of them."""
    if not isinstance(held_out, jax.Array) or not len(held_out):
        return ()
    vary = variation_of(model.spec)
    keys = jax.random.split(key, _VARIATIONS)
    return jnp.concatenate([held_out, *(vary(one, held_out) for one in keys)])


def _measure(
    judge: Judge,
    fitness: Callable[..., float | None],
    masks: Masks,
    params: Params,
    buffers: Buffers,
) -> Measure:
    """Of finished weights, labels included where there are any."""
    return judge.measure_weights(params, buffers, fitness(masks, params, buffers))


def _fitness(
    judge: Judge,
    objective: str,
    shown: Array | tuple[()],
    masks: Masks,
    params: Params,
    buffers: Buffers,
) -> float | None:
    """Of finished weights: nothing is repaired any more."""
    if not isinstance(shown, jax.Array):
        return None
    as_is = Repair(shown, Partial(_as_is, judge.model.apply, shown, params, buffers))
    score = choose_objective(objective, judge.model, shown, None, as_is)
    return fitness_of(score, judge.key, masks)


def _as_is(apply, shown: Array, params: Params, buffers: Buffers, *masked):
    return apply(params, buffers, shown), params, buffers
