"""The demo: a network that comes along, pruned without data at a sparsity that hurts.

The classifier of handwritten digits in `assets` has batch-norm layers, from which the search
makes its inputs; the test images beside it only measure the result. Every seed is fixed.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jgaprune.assets
from jgaprune import converters, driver, saliency, spaces
from jgaprune.inputs.files import read_evaluation_data
from jgaprune.masks import kept_for
from jgaprune.model import Model
from jgaprune.report import Report
from jgaprune.types import MaskSpace

SPARSITY = 0.94
"""Up to 90 %, one-shot masks need no more than the repair; here even so they lose 20 points."""

_ASSETS = Path(jgaprune.assets.__file__).parent
WEIGHTS = _ASSETS / "digits_cnn.pth"
TEST_IMAGES = _ASSETS / "digits_test.npz"

_EVALUATIONS = 1500


def load_demo() -> Model:
    """The dense network of the demo."""
    return converters.load("digits_cnn", WEIGHTS)


def prune_demo(
    model: Model, *, on_record: Callable[[driver.Progress], None] | None = None
) -> Report:
    """Prunes the demo's network without data and measures it on its test images.

    Args:
      model: of `load_demo`.
      on_record: is told of every step, as in `jgaprune.prune`.
    """
    report = driver.prune(
        model,
        sparsity=SPARSITY,
        space=_space(model),
        evaluations=_EVALUATIONS,
        evaluation_data=read_evaluation_data(TEST_IMAGES, model.spec),
        on_record=on_record,
    )
    described = {"demo": True, "space": "offsets per layer and output channel, on magnitude"}
    return replace(report, settings={**report.settings, **described})


def _space(model: Model) -> MaskSpace:
    """Offsets per output channel too: six layers alone leave the search little to say."""
    layout = model.layout
    basis = saliency.magnitude(model.params, layout, SPARSITY)
    basis = saliency.protect(basis, layout, kept_for(SPARSITY, layout.num_weights))
    return spaces.offsets(basis, layout, SPARSITY, detail="output_channel")
