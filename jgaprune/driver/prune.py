"""`prune()`: the whole way from a model to a report."""

from functools import partial

import jax
import numpy as np

from jgaprune.driver.baselines import magnitude_scores, one_shot_masks, one_shot_scores
from jgaprune.driver.budget import DEFAULT_EVALUATIONS, DEFAULT_REFITTED, Budget
from jgaprune.driver.check import check_call
from jgaprune.driver.choices import initial_population
from jgaprune.driver.loop import run_search
from jgaprune.driver.measure import (
    EvaluationData,
    measure_baselines,
)
from jgaprune.driver.outcome import accuracy_of, make_report
from jgaprune.driver.plan import Choices, plan_search
from jgaprune.driver.progress import OnRecord, Progress, ignore
from jgaprune.driver.racing import Racing, describe_racing, make_screen
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.driver.wiring import (
    build_ready,
    choose_repair,
    inputs_to_score,
    make_inputs,
    make_judge,
    make_repair,
    repair_name,
    split_key,
)
from jgaprune.engine import Strategy
from jgaprune.inputs import vary
from jgaprune.model import Model
from jgaprune.report import Report
from jgaprune.types import Array, Evolver, Key, MaskSpace, Objective, Repair


def prune(
    model: Model,
    *,
    sparsity: float,
    inputs: Array | np.ndarray | None = None,
    supplement: bool = True,
    labels: Array | np.ndarray | None = None,
    space: str | MaskSpace = "bases",
    objective: str | Objective = "output_distance",
    evolver: str | Evolver = "genetic",
    repair: bool | str | Repair = "auto",
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
      space: "bases", "levels", "offsets", "weights", "scores", or a `MaskSpace`.
      objective: "output_distance", "total_variation", "logit_cosine", "logit_mse", "kl",
        "agreement", "accuracy", "cross_entropy", or an `Objective`.
      evolver: "genetic", "level_switch", "paper1" to "paper5", "evosax:NAME", or an `Evolver`.
      repair: what is done to what is left, in every evaluation and in the result. "reconstruct"
        refits kept weights, biases and batch-norm statistics, layer by layer;
        "batch_norm_delta" corrects the statistics; or "none", or a `Repair`. "auto" (or True)
        reconstructs in the space "bases", unless inputs are noise, the objective needs labels
        or the evolver is the paper's; there, and in other spaces, it corrects the statistics.
      racing: whether children are looked at on an eighth of the inputs, and only the best quarter
        of them evaluated in full; or a `Racing` with other shares. A look counts as that share
        of an evaluation. Not with an objective or a repair of your own, nor with "paper1" to
        "paper5".
      seeds: whether the one-shot masks are put into generation 0, so that the result is never
        worse than the best of them where the space can express them; "paper1" to "paper5" are
        never seeded.
      evaluations: budget in candidates, generation 0 included; by default 120 where "auto" or
        you chose "reconstruct", else 1000.
      generations: budget in generations.
      seconds: budget in seconds of search.
      population: candidates per generation; by default 16, or less for a budget below 480
        evaluations; the paper's schedule for its evolvers; the size of generation 0 for an
        evolver of your own.
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
    repair = {True: "auto", False: "none"}[repair] if isinstance(repair, bool) else repair
    budget = Budget(evaluations, generations, seconds)
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
        budget=budget.resolved(),
        evaluation_data=evaluation_data,
    )
    choices = Choices(space, objective, evolver).as_pytrees()
    keys = split_key(key)
    build_plan = partial(plan_search, model, choices, sparsity=sparsity, population=population)
    build_plan(initial=initial_population(evolver, population, evaluations, model))  # its errors

    tell(Progress("inputs"))
    chosen = make_inputs(
        model, inputs, repair, keys.inputs, supplement=supplement and labels is None
    )
    repair = choose_repair(repair, choices, chosen.origin)
    vary_key = jax.random.fold_in(keys.inputs, 1)
    varied = None if labels is not None else vary(vary_key, chosen.all)  # labels would not hold
    used_repair = make_repair(model, chosen, repair, varied)
    shown = inputs_to_score(chosen, repair, used_repair)
    judge = make_judge(
        model, choices.objective, shown, labels, used_repair, keys.scores, evaluation_data
    )
    watch.lap("inputs")

    tell(Progress("baselines"))
    refits = used_repair if repair == "reconstruct" else None
    if space == "bases":
        scores = one_shot_scores(model, sparsity, chosen.all[: chosen.num_for_repair], refits)
    else:
        scores = magnitude_scores(model.params, model.layout, sparsity)
    one_shot = one_shot_masks(scores, model.layout, sparsity)
    baselines = measure_baselines(judge, one_shot)
    watch.lap("baselines")

    tell(Progress("compile"))
    budget = budget.resolved(DEFAULT_EVALUATIONS if refits is None else DEFAULT_REFITTED)
    initial = initial_population(evolver, population, budget.evaluations, model)
    plan = build_plan(initial=initial, scores=scores)
    screen = make_screen(model, racing, plan, objective, chosen, labels, repair, varied)
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

    done = run_search(ready.search, keys.search, budget, accuracy_of(judge, plan.space), tell)
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
    return make_report(judge, sparsity, plan.space, done, baselines, settings, warnings, watch)
