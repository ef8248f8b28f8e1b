"""`prune()`: the whole way from a model to a report."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.driver.budget import Budget
from jgaprune.driver.check import check_call
from jgaprune.driver.choices import (
    DEFAULT_POPULATION,
    choose_evolver,
    choose_objective,
    choose_space,
)
from jgaprune.driver.loop import Progression, run_search
from jgaprune.driver.measure import (
    EvaluationData,
    Judge,
    measure_baselines,
    one_shot_masks,
    repaired,
)
from jgaprune.driver.progress import OnRecord, Progress, ignore
from jgaprune.engine import Search, auto_chunk, build_search
from jgaprune.inputs import gaussian_noise, synthesize
from jgaprune.model import Model
from jgaprune.repair import batch_norm_delta
from jgaprune.report import Baseline, Report
from jgaprune.types import (
    Array,
    Evolver,
    Genomes,
    Key,
    Masks,
    MaskSpace,
    Objective,
    Repair,
)

_NUM_INPUTS = 256
"""Inputs made for a model without data."""


class _Ready(NamedTuple):
    """A search ready to run, with what was chosen for it."""

    space: MaskSpace
    search: Search
    population: int
    chunk: int
    num_seeds: int


def prune(
    model: Model,
    *,
    sparsity: float,
    inputs: Array | np.ndarray | None = None,
    labels: Array | np.ndarray | None = None,
    space: str | MaskSpace = "offsets",
    objective: str | Objective = "logit_cosine",
    evolver: str | Evolver = "genetic",
    repair: bool | Repair = True,
    seeds: bool = True,
    evaluations: int | None = None,
    generations: int | None = None,
    seconds: float | None = None,
    population: int | None = None,
    key: int | Key = 0,
    chunk: int | str = "auto",
    evaluation_data: EvaluationData | None = None,
    on_record: OnRecord | None = None,
) -> Report:
    """Prunes a pre-trained network by evolving masks; no labels, and no data, needed.

    Args:
      model: the dense network.
      sparsity: fraction of the prunable weights to remove, in (0, 1); met to the weight.
      inputs: unlabelled model inputs `[N, ...]`, preprocessed; by default 256 are synthesised
        from the model's batch-norm statistics, or drawn as noise where it has none.
      labels: `int [N]`, for the objectives "accuracy" and "cross_entropy" only: the paper's
        setting.
      space: "offsets", "weights", "scores", or a `MaskSpace`.
      objective: "logit_cosine", "logit_mse", "kl", "agreement", "accuracy", "cross_entropy", or an `Objective`.
      evolver: "genetic", "paper1" to "paper5", "evosax:NAME", or an `Evolver` (then also pass
        `population`, the size of its generation 0).
      repair: whether the batch-norm statistics are corrected, in every evaluation and in the
        result; or a `Repair`.
      seeds: whether the one-shot masks are put into generation 0, so that the result is never
        worse than the best of them; the paper's evolvers are never seeded.
      evaluations: budget in candidates, generation 0 included; 400 by default.
      generations: budget in generations.
      seconds: budget in seconds of search.
      population: candidates per generation; 16 by default, the paper's schedule for its evolvers.
      key: seed or PRNG key; same key, same machine, same masks.
      chunk: candidates per vmapped forward pass, "auto" for what fits the device.
      evaluation_data: `(inputs, labels)` that only the report sees, never the search.
      on_record: called with a `Progress` between blocks of generations.

    Returns:
      The pruned and repaired weights, the masks, and how they compare with one-shot pruning.

    Raises:
      ValueError: the call cannot work; every fault is named.
      KeyboardInterrupt: before there was anything to return; later ones end the search early
        and the report says so.
    """
    watch = _Stopwatch()
    budget = Budget(evaluations, generations, seconds)
    check_call(
        model,
        sparsity=sparsity,
        inputs=inputs,
        labels=labels,
        space=space,
        objective=objective,
        evolver=evolver,
        population=population,
        chunk=chunk,
        budget=budget,
    )
    budget, tell = budget.resolved(), on_record or ignore
    root = jax.random.key(key) if isinstance(key, int) else key
    input_key, score_key, search_key = jax.random.split(root, 3)

    tell(Progress("inputs"))
    shown, warnings = _inputs(model, inputs, input_key)
    used_repair = _repair(model, shown, repair)
    judge = _judge(model, objective, shown, labels, used_repair, score_key, evaluation_data)
    watch.lap("inputs")

    tell(Progress("baselines"))
    one_shot = one_shot_masks(model, sparsity)
    baselines = measure_baselines(judge, one_shot)
    watch.lap("baselines")

    tell(Progress("compile"))
    ready = _build(
        judge,
        sparsity=sparsity,
        names=(space, objective, evolver),
        population=_fitting(population, budget),
        seeds=one_shot if seeds else {},
        chunk=chunk,
    )
    watch.lap("compile")

    done = run_search(ready.search, search_key, budget, _accuracy_of(judge, ready.space), tell)
    settings = {
        "sparsity": sparsity,
        "inputs": _origin(model, inputs),
        "num_inputs": int(shown.shape[0]),
        "space": _name(space),
        "objective": _name(objective),
        "evolver": _name(evolver),
        "repair": _repair_name(model, repair),
        "seeds": ready.num_seeds,
        "evaluations": budget.evaluations,
        "generations": budget.generations,
        "seconds": budget.seconds,
        "population": ready.population,
        "key": jax.random.key_data(root).tolist(),
        "chunk": ready.chunk,
    }
    return _report(judge, sparsity, ready.space, done, baselines, settings, warnings, watch)


class _Stopwatch:
    """Wall seconds of each phase."""

    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Ends a phase."""
        now = time.perf_counter()
        self.seconds[phase], self.last = now - self.last, now

    def total(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started


def _inputs(
    model: Model, inputs: Array | np.ndarray | None, key: Key
) -> tuple[Array, tuple[str, ...]]:
    """The inputs of the search, and what a reader should know of them."""
    if inputs is not None:
        return jnp.asarray(inputs, jnp.float32), ()
    if _origin(model, inputs) == "synthesised":
        return synthesize(model, key, _NUM_INPUTS), ()
    warning = (
        f"{model.spec.name} has no batch-norm layers to synthesise inputs from: the search used "
        "Gaussian noise, on which it can fool itself. Pass unlabelled inputs if you have any."
    )
    return gaussian_noise(model.spec, key, _NUM_INPUTS), (warning,)


def _origin(model: Model, inputs: object) -> str:
    if inputs is not None:
        return "given"
    return "synthesised" if model.observe and model.spec.norms else "noise"


def _repair(model: Model, inputs: Array, repair: bool | Repair) -> Repair | None:
    if isinstance(repair, bool):
        return batch_norm_delta(model, inputs) if repair else None
    return repair


def _repair_name(model: Model, repair: bool | Repair) -> str | None:
    if not isinstance(repair, bool):
        return "custom"
    return "batch_norm_delta" if repair and model.spec.norms else None


def _judge(
    model: Model,
    objective: str | Objective,
    inputs: Array,
    labels: Array | np.ndarray | None,
    repair: Repair | None,
    key: Key,
    data: EvaluationData | None,
) -> Judge:
    targets = None if labels is None else jnp.asarray(labels)
    repaired_objective = choose_objective(objective, model, inputs, targets, repair)
    raw = None
    if isinstance(objective, str):
        raw = choose_objective(objective, model, inputs, targets, None)
    return Judge(model, repair, repaired_objective, raw, key, data)


def _build(
    judge: Judge,
    *,
    sparsity: float,
    names: tuple[str | MaskSpace, str | Objective, str | Evolver],
    population: int,
    seeds: dict[str, Masks],
    chunk: int | str,
) -> _Ready:
    """Wires space, evolver and seeds into a compiled search."""
    space_choice, objective_choice, evolver_choice = names
    model, objective = judge.model, judge.repaired
    space = choose_space(space_choice, model, sparsity)
    labels = (_name(space_choice), _name(objective_choice))
    evolver, population = choose_evolver(evolver_choice, space, labels, population, model)
    seed_genomes = None if _is_paper(evolver_choice) else _encode(space, seeds, population)
    size = auto_chunk(space, objective, population) if isinstance(chunk, str) else chunk
    search = build_search(
        space, objective, evolver, population=population, seeds=seed_genomes, chunk=size
    ).compile()
    num_seeds = 0 if seed_genomes is None else jax.tree.leaves(seed_genomes)[0].shape[0]
    return _Ready(space, search, population, size, num_seeds)


def _encode(space: MaskSpace, seeds: dict[str, Masks], population: int) -> Genomes | None:
    """The seeds as genomes, as many as fit."""
    if space.encode is None or not seeds:
        return None
    genomes = [space.encode(masks) for masks in list(seeds.values())[:population]]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *genomes)


def _fitting(population: int | None, budget: Budget) -> int:
    """The population asked for, 0 for the default; a small budget makes it smaller."""
    if population is None and budget.evaluations is not None:
        return max(2, min(budget.evaluations, DEFAULT_POPULATION))
    return population or 0


def _accuracy_of(judge: Judge, space: MaskSpace):
    return lambda genome: judge.accuracy(space.decode(genome))


def _report(
    judge: Judge,
    sparsity: float,
    space: MaskSpace,
    done: Progression,
    baselines: dict[str, Baseline],
    settings: dict[str, object],
    warnings: tuple[str, ...],
    watch: _Stopwatch,
) -> Report:
    masks = space.decode(done.genome)
    params, buffers = repaired(judge.model, judge.repair, masks)
    dense, pruned = judge.dense_accuracy(), judge.accuracy(masks)
    if done.failures:
        warnings += (f"{done.failures} evaluations gave NaN and counted as the worst.",)
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


def _is_paper(evolver: str | Evolver) -> bool:
    return isinstance(evolver, str) and evolver.startswith("paper")


def _name(choice: object) -> str:
    return choice if isinstance(choice, str) else "custom"
