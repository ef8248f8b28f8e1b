"""Prune pre-trained networks without their training data, by evolving populations of masks.

`convert -> Model -> MaskSpace + Objective + Evolver -> Search -> Report -> export`
"""

from jgaprune import (  # type: ignore[attr-defined]
    converters,
    distributed,
    evolvers,
    inputs,
    masks,
    objectives,
    repair,
    saliency,
    spaces,
    telemetry,
    training,
)
from jgaprune.driver import (
    Checkpoints,
    Forecast,
    Progress,
    Racing,
    StageNeed,
    plan_memory,
    prune,
)
from jgaprune.engine import (
    Record,
    Screen,
    Search,
    SearchState,
    Strategy,
    build_search,
    make_mesh,
    refine,
)
from jgaprune.model import Model, ModelSpec, Preprocessing
from jgaprune.report import Report
from jgaprune.types import Evolver, MaskSpace, Repair, Score
from jgaprune.version import __version__

__all__ = [
    "Checkpoints",
    "Evolver",
    "Forecast",
    "MaskSpace",
    "Model",
    "ModelSpec",
    "Preprocessing",
    "Progress",
    "Racing",
    "Record",
    "Repair",
    "Report",
    "Score",
    "Screen",
    "Search",
    "SearchState",
    "StageNeed",
    "Strategy",
    "__version__",
    "build_search",
    "converters",
    "distributed",
    "evolvers",
    "inputs",
    "make_mesh",
    "masks",
    "objectives",
    "plan_memory",
    "prune",
    "refine",
    "repair",
    "saliency",
    "spaces",
    "telemetry",
    "training",
]
