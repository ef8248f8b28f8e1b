"""Checks a call of `prune` before anything is computed; all faults in one error."""

import numpy as np

from jgaprune.driver.budget import Budget
from jgaprune.driver.choices import (
    EVOLVERS,
    LABELLED,
    OBJECTIVES,
    SPACES,
    unknown_name,
)
from jgaprune.masks import kept_for
from jgaprune.model import Model


def check_call(
    model: Model,
    *,
    sparsity: float,
    inputs: object,
    labels: object,
    space: object,
    objective: object,
    evolver: object,
    population: int | None,
    chunk: object,
    budget: Budget,
) -> None:
    """Raises one ValueError that names every fault.

    Raises:
      ValueError: something in the call cannot work.
    """
    faults = [
        unknown_name("space", space, SPACES),
        unknown_name("objective", objective, OBJECTIVES),
        unknown_name("evolver", evolver, EVOLVERS),
        _sparsity_fault(sparsity, model),
        _inputs_fault(inputs, model),
        _labels_fault(labels, inputs, objective),
        *budget.faults(),
    ]
    if population is not None and population < 2:
        faults.append(f"population must be at least 2, got {population}")
    if chunk != "auto" and (not isinstance(chunk, int) or chunk < 1):
        faults.append(f"chunk must be 'auto' or a whole number from 1 up, got {chunk!r}")
    found = [fault for fault in faults if fault]
    if found:
        raise ValueError("; ".join(found) + ".")


def _sparsity_fault(sparsity: float, model: Model) -> str | None:
    try:
        kept_for(sparsity, model.layout.num_weights)
    except ValueError as error:
        return str(error).rstrip(".")
    return None


def _inputs_fault(inputs: object, model: Model) -> str | None:
    if inputs is None:
        return None
    array = np.asarray(inputs)
    expected = model.spec.input_shape
    if array.ndim != len(expected) + 1 or array.shape[1:] != expected or not len(array):
        return (
            f"inputs must have shape [N, {', '.join(map(str, expected))}], got {list(array.shape)}"
        )
    if not np.issubdtype(array.dtype, np.floating) and array.dtype.name != "bfloat16":
        return (
            f"inputs must be preprocessed floats, got {array.dtype}; "
            "jgaprune.inputs.files.prepare turns uint8 images into model inputs"
        )
    if not np.isfinite(array.astype(np.float32)).all():
        return "inputs hold NaN or infinite values; remove those examples"
    return None


def _labels_fault(labels: object, inputs: object, objective: object) -> str | None:
    if objective in LABELLED and (labels is None or inputs is None):
        return f"objective {objective} needs inputs and labels; label-free ones need neither"
    if labels is not None and objective not in LABELLED:
        return (
            f"labels were given, but objective {objective} does not use them; pass "
            "evaluation_data=(inputs, labels) to measure accuracy in the report"
        )
    return None
