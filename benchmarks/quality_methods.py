"""What `quality.py` measures of one network, sparsity, source of inputs and key.

A run is a JSON object: `evolved` is the default call, `baselines` are the one-shot masks raw and
repaired as its report has them, `distilled` is the best of them with its weights trained for as
many steps as our masks and weights together, and then there are the rivals. Every method gets the
same inputs and key, and every search as many evaluations and steps of training as the default call
took.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

import jgaprune as jp
from jgaprune.driver.finish import finish
from jgaprune.driver.inputs import NUM_INPUTS, Inputs, hold_out, make_inputs
from jgaprune.driver.measure import EvaluationData, repaired
from jgaprune.driver.train import train_masks
from jgaprune.driver.wiring import Keys, make_judge, make_repair, split_key
from jgaprune.inputs import gaussian_noise, variation_of
from jgaprune.report import accuracy
from jgaprune.types import Array, Masks, Scores

Run = dict[str, Any]
NOISE = "noise"
OBJECTIVE = "output_distance"
STRAIGHT_THROUGH = "straight_through"
SPARSE_GPT = "sparse_gpt"
PAPER = tuple(f"paper{number}" for number in range(1, 6))
SEARCHES: dict[str, dict[str, Any]] = {
    "random_search": {"evolver": "random_search"},
    "hill_climbing": {"evolver": "level_switch", "population": 2},
    "weights_untouched": {"repair": "batch_norm_delta"},
    "unrepaired": {"repair": "none"},
    **{name: {"evolver": name, "space": "scores", "repair": "none"} for name in PAPER},
}
RIVALS = (SPARSE_GPT, STRAIGHT_THROUGH, *SEARCHES)
_FROM_WEIGHTS = {
    "magnitude": jp.saliency.magnitude,
    "uniform_magnitude": jp.saliency.uniform_magnitude,
    "lamp": jp.saliency.lamp,
    "erk": jp.saliency.erk,
    "lookahead": jp.saliency.lookahead,
}
_FROM_MODEL = {
    "synflow": lambda model, inputs, sparsity: jp.saliency.synflow(model, sparsity),
    "wanda": jp.saliency.wanda,
    "obs": jp.saliency.obs,
    "exact_obs": jp.saliency.exact_obs,
}
ONE_SHOT = (*_FROM_WEIGHTS, *_FROM_MODEL)
"""Published methods. The others among the baselines refit or train on the way."""
_KEPT = ("winner", "candidates", "fitness", "trust", "evaluations", "settings", "seconds")


class Task(NamedTuple):
    """What all methods of a run have in common.

    Attributes:
      model: the dense network.
      data: labelled, for the report only.
      source: of the inputs; noise stands alone, other given inputs are supplemented.
      given: unlabelled inputs `[N, ...]`; None to have them made from the model.
      sparsity: fraction to remove.
      key: of the inputs that are made, and of the search.
    """

    model: jp.Model
    data: EvaluationData
    source: str
    given: Array | np.ndarray | None
    sparsity: float
    key: int

    @property
    def keys(self) -> Keys:
        """Those that `prune` makes of the key."""
        return split_key(self.key)


def make_task(
    model: jp.Model,
    data: EvaluationData,
    source: str,
    unlabelled: Array | np.ndarray | None,
    sparsity: float,
    key: int,
) -> Task:
    """The task of a source by name: none, noise, or the given inputs."""
    given = unlabelled if source == "unlabelled" else None
    if source == NOISE:
        given = gaussian_noise(model.spec, split_key(key).inputs, NUM_INPUTS)
    return Task(model, data, source, given, sparsity, key)


def measure_missing(
    task: Task, run: Run, rivals: Sequence[str], *, evaluations: int | None, steps: int
) -> Iterator[str]:
    """Adds what a run lacks, and yields the name of every part that it has added.

    Args:
      task: of the run.
      run: changed in place.
      rivals: names out of `RIVALS`.
      evaluations: of the default call; None for its own. Rivals get what it took.
      steps: of the rival that is trained straight through.
    """
    if "evolved" not in run:
        report = _search(task, {} if evaluations is None else {"evaluations": evaluations})
        run["dense"] = report["accuracy"]["dense"]
        run["baselines"] = report["baselines"]
        run["evolved"] = _outcome(report)
        yield "evolved"
    settings = run["evolved"]["settings"]
    inputs, num_steps = None, sum(settings["train_steps"].values())
    if run.get("distilled", {}).get("steps") != num_steps:
        best, inputs = _best_one_shot(run["baselines"]), _inputs(task)
        candidates = _distilled(task, inputs, best, num_steps)
        run["distilled"] = {"of": best, "steps": num_steps, **_outcomes(best, candidates)}
        yield "distilled"
    if SPARSE_GPT in rivals and SPARSE_GPT not in run:
        run[SPARSE_GPT] = _sparse_gpt(task, inputs or _inputs(task))
        yield SPARSE_GPT
    if STRAIGHT_THROUGH in rivals and STRAIGHT_THROUGH not in run:
        run[STRAIGHT_THROUGH] = _straight_through(task, inputs or _inputs(task), steps)
        yield STRAIGHT_THROUGH
    for name in (one for one in rivals if one in SEARCHES and one not in run.get("rivals", {})):
        report = _search(task, {**SEARCHES[name], **_equal(name, run["evolved"])})
        run.setdefault("rivals", {})[name] = _outcome(report)
        yield name


def _search(task: Task, choices: dict[str, Any]) -> dict[str, Any]:
    return jp.prune(
        task.model,
        sparsity=task.sparsity,
        inputs=task.given,
        supplement=task.source != NOISE,
        key=task.key,
        evaluation_data=task.data,
        **choices,
    ).to_json()


def _outcome(report: dict[str, Any]) -> dict[str, Any]:
    return {"accuracy": report["accuracy"]["pruned"], **{name: report[name] for name in _KEPT}}


def _equal(name: str, ours: dict[str, Any]) -> dict[str, int]:
    """The budget of a rival's search: what the default call took.

    Args:
      name: of the rival.
      ours: outcome of the default call.
    """
    settings = ours["settings"]
    evaluations, steps = settings["evaluations"], settings["train_steps"]
    if name not in PAPER:
        return {"evaluations": evaluations, "train_steps": steps["masks"]}
    num_distilled = sum(one.endswith(_of_distilled("")) for one in ours["candidates"])
    trainings = [steps["masks"], *num_distilled * [steps["weights"]]]
    costs = (
        jp.training.Training(one).evaluations(settings["num_inputs"]) for one in trainings if one
    )
    return {"evaluations": evaluations + sum(costs)}


def _inputs(task: Task) -> Inputs:
    """Those of the default call."""
    made = make_inputs(
        task.model, task.given, "auto", task.keys.inputs, supplement=task.source != NOISE
    )
    return hold_out(made, task.keys.choice)


def _best_one_shot(baselines: dict[str, Any]) -> str:
    """The best once refitted, by fitness."""
    measured = [name for name in ONE_SHOT if name in baselines]
    return min(measured, key=lambda name: baselines[name]["repaired"]["fitness"])


def _of_distilled(name: str) -> str:
    return f"{name}, distilled"


def _outcomes(name: str, candidates: dict[str, Any]) -> dict[str, float]:
    """Accuracy of one-shot masks distilled, and of what is fitter of this and undistilled ones.

    Without gradients nothing is distilled: both are of the masks as refitted.
    """
    known = [candidates[one] for one in (name, _of_distilled(name)) if one in candidates]
    chosen = min(known, key=lambda one: one["fitness"])
    return {"accuracy": known[-1]["accuracy"], "chosen": chosen["accuracy"]}


def _distilled(task: Task, inputs: Inputs, name: str, steps: int) -> dict[str, Any]:
    """What one-shot masks are worth refitted, and distilled like ours."""
    model = task.model
    masks = _masks(task, _one_shot_scores(task, name, inputs))
    repair = make_repair(model, inputs, "reconstruct")
    judge = make_judge(model, OBJECTIVE, repair.inputs, None, repair, task.keys.scores, task.data)
    result = finish(judge, OBJECTIVE, {name: masks}, inputs, steps=steps, key=task.keys.weights)
    return {one: asdict(measure) for one, measure in result.measures.items()}


def _one_shot_scores(task: Task, name: str, inputs: Inputs) -> Scores:
    if name in _FROM_WEIGHTS:
        return _FROM_WEIGHTS[name](task.model.params, task.model.layout, task.sparsity)
    return _FROM_MODEL[name](task.model, inputs.for_repair, task.sparsity)


def _sparse_gpt(task: Task, inputs: Inputs) -> dict[str, Any]:
    """Its own weights with our statistics, and its masks refitted like all others."""
    model, seen = task.model, inputs.for_repair
    masks, params = jp.saliency.sparse_gpt(model, seen, task.sparsity)
    _, params, buffers = jp.repair.batch_norm_delta(model, seen).fit(params, model.buffers)
    refitted = repaired(model, make_repair(model, inputs, "reconstruct"), masks)
    reached = {
        "batch_norm_delta": accuracy(model, params, buffers, *task.data),
        "reconstruct": accuracy(model, *refitted, *task.data),
    }
    return {"accuracy": reached}


def _straight_through(task: Task, inputs: Inputs, steps: int) -> dict[str, Any]:
    """Masks trained from LAMP, weights untouched, with both repairs."""
    model, started = task.model, time.perf_counter()
    lamp = _one_shot_scores(task, "lamp", inputs)
    trained = train_masks(model, task.sparsity, inputs.all, lamp, None, steps, task.keys.masks)
    masks = _masks(task, trained.scores)
    seconds = time.perf_counter() - started
    varied = variation_of(model.spec)(task.keys.unseen, inputs.all)
    repairs = {
        name: make_repair(model, inputs, name, varied)
        for name in ("batch_norm_delta", "reconstruct")
    }
    reached = {
        name: accuracy(model, *repaired(model, repair, masks), *task.data)
        for name, repair in repairs.items()
    }
    return {"accuracy": reached, "steps": steps, "seconds": seconds}


def _masks(task: Task, scores: Scores) -> Masks:
    return jp.saliency.one_shot(scores, task.model.layout, task.sparsity)
