"""`prune()`: the whole way from a model to a report."""

import math

import jax
import numpy as np

from jgaprune.driver.budget import Budget
from jgaprune.driver.check import check_call
from jgaprune.driver.choices import initial_population
from jgaprune.driver.loop import Progression, run_search
from jgaprune.driver.measure import (
    EvaluationData,
    Judge,
    measure_baselines,
    one_shot_masks,
    repaired,
)
from jgaprune.driver.plan import Choices, plan_search
from jgaprune.driver.progress import OnRecord, Progress, ignore
from jgaprune.driver.racing import Racing, describe_racing, make_screen
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.driver.wiring import (
    build_ready,
    make_inputs,
    make_judge,
    make_repair,
    repair_name,
    split_key,
)
from jgaprune.engine import Strategy
from jgaprune.model import Model
from jgaprune.report import Baseline, Report
from jgaprune.types import Array, Evolver, Genome, Key, Masks, MaskSpace, Objective, Repair


def prune(
    model: Model,
    *,
    sparsity: float,
    inputs: Array | np.ndarray | None = None,
    supplement: bool = True,
    labels: Array | np.ndarray | None = None,
    space: str | MaskSpace = "offsets",
    objective: str | Objective = "output_distance",
    evolver: str | Evolver = "genetic",
    repair: bool | Repair = True,
    racing: bool | Racing = False,
    seeds: bool = True,
    evaluations: int | None = None,
    generations: int | None = None,
    seconds: float | None = None,
    population: int | None = None,
    key: int | Key = 0,
    chunk: int | str = "auto",
    strategy: str | Strategy = "auto",
    evaluation_data: EvaluationData | None = None,
    on_record: OnRecord | None = None,
) -> Report:
    """Prunes a pre-trained network by evolving masks; no labels, and no data, needed.

    Args:
      model: the dense network.
      sparsity: fraction of the prunable weights to remove, in (0, 1); met to the weight, but
        for the space "scores", which rounds it in every tensor as the paper does.
      inputs: unlabelled model inputs `[N, ...]`, preprocessed; by default 512 are synthesised
        from the model's batch-norm statistics, or drawn as noise where it has none.
      supplement: whether synthesised inputs join the given ones where the model has batch-norm
        and the search needs no labels: they keep it honest when the given ones are few, or
        unlike the training data. The repair then works on the synthesised ones alone.
      labels: `int [N]`, for the objectives "accuracy" and "cross_entropy" only: the paper's
        setting.
      space: "offsets", "weights", "scores", or a `MaskSpace`.
      objective: "output_distance", "total_variation", "logit_cosine", "logit_mse", "kl",
        "agreement", "accuracy", "cross_entropy", or an `Objective`.
      evolver: "genetic", "paper1" to "paper5", "evosax:NAME", or an `Evolver`.
      repair: whether the batch-norm statistics are corrected, in every evaluation and in the
        result; or a `Repair`.
      racing: whether children are looked at on an eighth of the inputs, and only the best quarter
        of them evaluated in full; or a `Racing` with other shares. A look counts as that share
        of an evaluation. Not with an objective or a repair of your own, nor with "paper1" to
        "paper5".
      seeds: whether the one-shot masks are put into generation 0, so that the result is never
        worse than the best of them where the space can express them; "paper1" to "paper5" are
        never seeded.
      evaluations: budget in candidates, generation 0 included; 1000 by default.
      generations: budget in generations.
      seconds: budget in seconds of search.
      population: candidates per generation; 16 by default, the paper's schedule for its
        evolvers; the size of generation 0 for an evolver of your own.
      key: a whole number or a PRNG key; same key, same machine and strategy, same masks.
      chunk: candidates per batched pass; "auto" leaves it to the strategy.
      strategy: how the population is evaluated: a `Strategy`, or the name of its form; "auto" is
        what the machine runs well, which long searches measure first. It changes the speed, and
        the result by rounding only.
      evaluation_data: `(inputs, labels)` that only the report sees, never the search.
      on_record: called with a `Progress` between blocks of generations.

    Returns:
      The pruned and repaired weights, the masks, and how they compare with one-shot pruning.

    Raises:
      ValueError: the call cannot work; every fault is named.
      KeyboardInterrupt: before there was anything to return; later ones end the search early
        and the report says so.
    """
    watch, tell = Stopwatch(), on_record or ignore
    budget = Budget(evaluations, generations, seconds).resolved()
    check_call(
        model,
        sparsity=sparsity,
        inputs=inputs,
        labels=labels,
        space=space,
        objective=objective,
        evolver=evolver,
        repair=repair,
        racing=racing,
        population=population,
        chunk=chunk,
        strategy=strategy,
        budget=budget,
        evaluation_data=evaluation_data,
    )
    choices = Choices(space, objective, evolver).as_pytrees()
    keys = split_key(key)
    plan = plan_search(
        model,
        choices,
        sparsity=sparsity,
        population=population,
        initial=initial_population(evolver, population, budget.evaluations, model),
    )

    tell(Progress("inputs"))
    chosen = make_inputs(
        model, inputs, repair, keys.inputs, supplement=supplement and labels is None
    )
    used_repair = make_repair(model, chosen, repair)
    judge = make_judge(
        model, choices.objective, chosen.all, labels, used_repair, keys.scores, evaluation_data
    )
    screen = make_screen(model, racing, plan, objective, chosen, labels, repair)
    watch.lap("inputs")

    tell(Progress("baselines"))
    one_shot = one_shot_masks(model, sparsity)
    baselines = measure_baselines(judge, one_shot)
    watch.lap("baselines")

    tell(Progress("compile"))
    seeded = seeds and not choices.names()[-1].startswith("paper")
    ready = build_ready(
        plan,
        judge.repaired,
        seeds=one_shot if seeded else {},
        fitness={name: one.repaired.fitness for name, one in baselines.items()},
        strategy=strategy,
        chunk=chunk,
        expected_seconds=budget.expected_seconds(
            plan.initial, judge.seconds_per_evaluation(one_shot["lamp"])
        ),
        key=keys.search,
        screen=screen,
    )
    watch.lap("compile")

    done = run_search(ready.search, keys.search, budget, _accuracy_of(judge, plan.space), tell)
    settings = {
        "sparsity": sparsity,
        "inputs": chosen.origin,
        "num_inputs": len(chosen.all),
        **dict(zip(choices._fields, choices.names(), strict=True)),
        "repair": repair_name(model, repair),
        "racing": describe_racing(screen, len(chosen.all)),
        "seeds": ready.num_seeds,
        **vars(budget),
        "population": population,
        "initial_population": plan.initial,
        "key": jax.random.key_data(keys.root).tolist(),
        "key_impl": str(jax.random.key_impl(keys.root)),
        "strategy": str(ready.strategy),
        "chunk": ready.strategy.chunk,
    }
    warnings = chosen.warnings + ready.warnings
    return _report(judge, sparsity, plan.space, done, baselines, settings, warnings, watch)


def _disappointments(best: float, baselines: dict[str, Baseline]) -> tuple[str, ...]:
    """Warnings where the search was of no use."""
    if not math.isfinite(best):
        return ("No candidate had a finite fitness: the masks are arbitrary.",)
    rounding = 1e-4 * abs(best)
    unbeaten = [
        name
        for name, one in baselines.items()
        if one.repaired.fitness is not None and one.repaired.fitness <= best + rounding
    ]
    if not unbeaten:
        return ()
    return (
        f"The search found nothing better than the one-shot masks of {' and '.join(unbeaten)} "
        "with the same repair. Give it a larger budget.",
    )


def _accuracy_of(judge: Judge, space: MaskSpace):
    return lambda genome: judge.accuracy(_decode(space, genome))


@jax.jit
def _decode(space: MaskSpace, genome: Genome) -> Masks:
    return space.decode(genome)


def _report(
    judge: Judge,
    sparsity: float,
    space: MaskSpace,
    done: Progression,
    baselines: dict[str, Baseline],
    settings: dict[str, object],
    warnings: tuple[str, ...],
    watch: Stopwatch,
) -> Report:
    masks = _decode(space, done.genome)
    params, buffers = repaired(judge.model, judge.repair, masks)
    dense, pruned = judge.dense_accuracy(), judge.accuracy(masks)
    if done.failures:
        warnings += (f"{done.failures} evaluations gave NaN and counted as the worst.",)
    warnings += _disappointments(done.history.best[-1], baselines)
    return Report(
        model=judge.model,
        params=params,
        buffers=buffers,
        masks=masks,
        target_sparsity=sparsity,
        objective=str(settings["objective"]),
        fitness={"start": done.start, "best": done.history.best[-1]},
        baselines=baselines,
        accuracy=None if dense is None or pruned is None else {"dense": dense, "pruned": pruned},
        history=done.history,
        evaluations=done.evaluations,
        generations=done.generation,
        seconds={**watch.seconds, "search": done.seconds, "total": watch.total()},
        settings=settings,
        interrupted=done.interrupted,
        warnings=warnings,
    )
