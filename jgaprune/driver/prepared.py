"""What a run works out before its search, as arrays and a JSON document, and back.

It takes minutes, and a search goes on only with the very same inputs and scores.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jgaprune.driver.baselines import one_shot_masks
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.seeding import Seeding
from jgaprune.driver.train import Steps
from jgaprune.masks import Layout
from jgaprune.report import Baseline, Measure
from jgaprune.types import Array

Arrays = dict[str, np.ndarray]
_TRAINED = "trained."


class Prepared(NamedTuple):
    """What is known before a search begins.

    Attributes:
      inputs: of the run, less those held out.
      varied: the inputs varied once more, or None.
      start: what the search starts from.
      initial: size of generation 0.
      seconds: of each phase so far.
    """

    inputs: Inputs
    varied: Array | None
    start: Seeding
    initial: int
    seconds: dict[str, float]


def pack(prepared: Prepared) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and JSON values; masks follow from the scores."""
    inputs, start = prepared.inputs, prepared.start
    named = {"inputs": inputs.all, "held_out": inputs.held_out, "varied": prepared.varied}
    arrays = {name: np.asarray(one) for name, one in named.items() if isinstance(one, Array)}
    for number, scores in enumerate(start.scores.values()):
        arrays |= {f"scores.{number}.{leaf}": np.asarray(one) for leaf, one in scores.items()}
    trained = start.trained or {}
    arrays |= {f"{_TRAINED}{leaf}": np.asarray(one) for leaf, one in trained.items()}
    return arrays, {
        "inputs": {
            "num_for_repair": inputs.num_for_repair,
            "origin": inputs.origin,
            "warnings": list(inputs.warnings),
        },
        "scores": list(start.scores),
        "baselines": {
            name: {form: vars(getattr(one, form)) for form in ("raw", "repaired")}
            for name, one in start.baselines.items()
        },
        "steps": list(start.steps),
        "warnings": list(start.warnings),
        "initial": prepared.initial,
        "seconds": prepared.seconds,
    }


def unpack(arrays: Arrays, document: dict[str, Any], layout: Layout, sparsity: float) -> Prepared:
    """The same as it was."""
    told = document["inputs"]
    held_out = arrays.get("held_out")
    inputs = Inputs(
        jnp.asarray(arrays["inputs"]),
        told["num_for_repair"],
        told["origin"],
        tuple(told["warnings"]),
        () if held_out is None else jnp.asarray(held_out),
    )
    scores = {
        name: {leaf: jnp.asarray(arrays[f"scores.{number}.{leaf}"]) for leaf in layout.names}
        for number, name in enumerate(document["scores"])
    }
    baselines = {
        name: Baseline(*(Measure(**one[form]) for form in ("raw", "repaired")))
        for name, one in document["baselines"].items()
    }
    masks = one_shot_masks(scores, layout, sparsity)
    steps, warnings = Steps(*document["steps"]), tuple(document["warnings"])
    trained = {
        name.removeprefix(_TRAINED): jnp.asarray(one)
        for name, one in arrays.items()
        if name.startswith(_TRAINED)
    }
    varied = arrays.get("varied")
    return Prepared(
        inputs,
        None if varied is None else jnp.asarray(varied),
        Seeding(scores, masks, baselines, steps, warnings, trained or None),
        document["initial"],
        document["seconds"],
    )
