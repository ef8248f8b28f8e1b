"""Checks a call of `prune` before anything is computed; all faults in one error."""

from pathlib import Path
from typing import Any

import numpy as np

from jgaprune.driver.budget import Budget
from jgaprune.driver.call import Call
from jgaprune.driver.checkpoints import Checkpoints
from jgaprune.driver.choices import (
    EVOLVERS,
    OBJECTIVES,
    REPAIRS,
    initial_population,
    unknown_name,
)
from jgaprune.driver.plan import listed
from jgaprune.driver.presets import PRESETS
from jgaprune.driver.racing import racing_faults
from jgaprune.driver.stage_faults import stage_faults
from jgaprune.driver.weighted import objective_fault
from jgaprune.engine import FORMS, Strategy
from jgaprune.inputs.images import scale_faults
from jgaprune.masks import kept_for
from jgaprune.model import Model, label_faults, token_faults
from jgaprune.report import LABELLED_OBJECTIVES
from jgaprune.saliency import minimum_per_layer


def check_call(call: Call, budget: Budget, checkpoints: Checkpoints | None) -> None:
    """Raises one ValueError that names every fault.

    Raises:
      ValueError: something in the call cannot work.
    """
    model = call.model
    if not isinstance(model, Model):
        raise ValueError(
            f"model must be a jgaprune Model, got {type(model).__name__}; jgaprune.converters.load "
            "reads one from a weight file, Model.from_nnx takes your own network."
        )
    found = [fault for fault in (*_faults(call, budget), *_kept_faults(checkpoints)) if fault]
    if found:
        raise ValueError("; ".join(found) + ("" if found[-1].endswith("?") else "."))


def _kept_faults(checkpoints: Checkpoints | None) -> list[str]:
    return [] if checkpoints is None else checkpoints.faults()


def _faults(call: Call, budget: Budget) -> list[str | None]:
    model, evolver, objective, chunk = call.model, call.evolver, call.objective, call.chunk
    stages = listed(call.space)  # type: ignore[arg-type]
    faults = [
        *stage_faults(stages, evolver, budget),
        objective_fault(objective, OBJECTIVES),
        unknown_name("evolver", evolver, EVOLVERS),
        unknown_name("repair", call.repair, REPAIRS),
        None
        if call.preset in PRESETS
        else f"preset must be one of {', '.join(PRESETS)}, got {call.preset!r}",
        _steps_fault(call.train_steps),
        _sparsity_fault(call.sparsity, model),
        _limit_fault(call.memory_limit),
        None if call.inputs is None else _inputs_fault("inputs", call.inputs, model),
        _number_fault(call.num_inputs),
        *_masks_faults(call),
        *_labels_faults(call.labels, call.inputs, objective, model),
        *_evaluation_faults(call.evaluation_data, model),
        *budget.faults(),
        *_racing_faults(call.racing, objective, evolver, call.repair),
        *(device_faults := call.devices.faults(evolver)),
        None if device_faults else _population_fault(call, budget, max(1, len(stages))),
    ]
    if chunk != "auto" and (not isinstance(chunk, int) or chunk < 1):
        faults.append(f"chunk must be 'auto' or a whole number from 1 up, got {chunk!r}")
    faults.append(_strategy_fault(call.strategy, chunk))
    return faults


def _steps_fault(train_steps: object) -> str | None:
    if train_steps is None or (isinstance(train_steps, int) and train_steps >= 0):
        return None
    return f"train_steps must be a whole number from 0 up, got {train_steps!r}"


def _strategy_fault(strategy: object, chunk: object) -> str | None:
    if isinstance(strategy, Strategy):
        if chunk in ("auto", strategy.chunk):
            return None
        return f"the strategy has a chunk of {strategy.chunk}, chunk is {chunk}; leave chunk out"
    if strategy == "sequential" and chunk not in ("auto", 1):
        return f"'sequential' evaluates one candidate at a time, chunk is {chunk}; leave chunk out"
    return unknown_name("strategy", strategy, ("auto", *FORMS))


def _masks_faults(call: Call) -> list[str]:
    layout, faults = call.model.layout, []
    expected = dict(zip(layout.names, layout.shapes, strict=True))
    for number, masks in enumerate(call.given_masks, 1):
        found = {name: tuple(np.shape(mask)) for name, mask in masks.items()}
        kinds = {np.asarray(mask).dtype.name for mask in masks.values()}
        if found != expected:
            names = sorted({*found, *expected})
            other = [name for name in names if found.get(name) != expected.get(name)]
            faults.append(
                f"seed_masks {number} must have a mask of every prunable leaf in its shape, and no "
                f"others; {', '.join(other[:3])} differ"
            )
        elif kinds != {"bool"}:
            faults.append(f"seed_masks {number} must be boolean, got {', '.join(sorted(kinds))}")
    return faults


def _limit_fault(limit: object) -> str | None:
    if limit is None or (isinstance(limit, int) and limit >= 1):
        return None
    return f"memory_limit must be None or bytes, a whole number from 1 up, got {limit!r}"


def _number_fault(num_inputs: object) -> str | None:
    if num_inputs is None or (isinstance(num_inputs, int) and num_inputs >= 2):
        return None
    return f"num_inputs must be None or a whole number from 2 up, got {num_inputs!r}"


def _sparsity_fault(sparsity: float, model: Model) -> str | None:
    try:
        minimum_per_layer(model.layout, kept_for(sparsity, model.layout.num_weights))
    except ValueError as error:
        return str(error).rstrip(".")
    return None


def _population_fault(call: Call, budget: Budget, num_stages: int) -> str | None:
    evolver, population, islands = call.evolver, call.population, call.devices.islands
    if population is None and not isinstance(evolver, str):
        return "an evolver of your own needs population=..., the size of generation 0"
    if population is not None and population < 2:
        return f"population must be at least 2, got {population}"
    share = (budget.until(0, num_stages).evaluations or 0) // islands
    asked = None if budget.evaluations is None else share
    size = initial_population(evolver, population, asked, call.model)
    if budget.evaluations is not None and budget.evaluations > 0 and share < size:
        each = f" on each of {islands} islands" if islands > 1 else ""
        each += f" in each of {num_stages} stages" if num_stages > 1 else ""
        return (
            f"{budget.evaluations} evaluations do not pay for generation 0 of {size} candidates"
            f"{each}; raise evaluations or pass a smaller population"
        )
    return None


def _racing_faults(racing: object, objective: object, evolver: object, repair: object) -> list[str]:
    if racing is False:
        return []
    faults = racing_faults(racing)
    owns = {"an objective": isinstance(objective, str), "a repair": isinstance(repair, str)}
    faults += [
        f"racing looks at children on some of the inputs, to which {what} of your own cannot be "
        "restricted; build a Screen of it yourself and pass build_search(..., screen=...)"
        for what, is_ours in owns.items()
        if not is_ours
    ]
    if isinstance(evolver, str) and evolver.startswith("paper"):
        faults.append(
            f"{evolver} evaluates every child, as published; leave racing out, or use another "
            "evolver"
        )
    return faults


def _evaluation_faults(data: Any, model: Model) -> list[str | None]:
    if data is None:
        return []
    try:
        inputs, labels = data
    except (TypeError, ValueError):
        return ["evaluation_data must be a pair (inputs, labels)"]
    labels = np.asarray(labels)
    faults = label_faults(labels, len(inputs), model.spec)
    return [
        _inputs_fault("inputs of evaluation_data", inputs, model),
        *(f"evaluation_data: {fault.rstrip('.')}" for fault in faults),
    ]


def _inputs_fault(what: str, inputs: object, model: Model) -> str | None:
    if isinstance(inputs, str | Path):
        return f"{what} must be an array, got a path; load it, for example with numpy.load"
    array = np.asarray(inputs)
    if model.spec.vocabulary is not None:
        faults = " ".join(token_faults(array, model.spec)).rstrip(".")
        return f"{what}: {faults}" if faults else None
    expected = model.spec.input_shape
    if array.ndim != len(expected) + 1 or array.shape[1:] != expected or not len(array):
        return (
            f"{what} must have shape [N, {', '.join(map(str, expected))}], got {list(array.shape)}"
        )
    if not np.issubdtype(array.dtype, np.floating) and array.dtype.name != "bfloat16":
        return (
            f"{what} must be preprocessed floats, got {array.dtype}; "
            "jgaprune.inputs.prepare(images, model.spec) makes them of uint8 images"
        )
    if not np.isfinite(array.astype(np.float32)).all():
        return f"{what} hold NaN or infinite values; remove those examples"
    if scale_faults(array, model.spec):
        return (
            f"{what} are whole numbers up to {array.max():.0f}, images as they are stored; "
            "jgaprune.inputs.prepare(images.astype('uint8'), model.spec) makes inputs of them"
        )
    return None


def _labels_faults(labels: Any, inputs: Any, objective: object, model: Model) -> list[str]:
    if objective in LABELLED_OBJECTIVES:
        if labels is None or inputs is None:
            return [f"objective {objective} needs inputs and labels; label-free ones need neither"]
        faults = label_faults(np.asarray(labels), len(inputs), model.spec)
        return [fault.rstrip(".") for fault in faults]
    if labels is not None:
        return [
            f"labels were given, but objective {objective} does not use them; pass "
            "evaluation_data=(inputs, labels) to measure accuracy in the report"
        ]
    return []
