"""`report.json`: a report as plain JSON values.

The document is versioned: keys are only added within one `SCHEMA_VERSION`. What isn't a finite
number becomes null, so that every JSON reader accepts it.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jgaprune.model import ModelSpec
from jgaprune.report.environment import device, versions

if TYPE_CHECKING:
    from jgaprune.report.report import Baseline, Measure, Report

SCHEMA_VERSION = 1

UNLABELLED_NOTE = "The search used no labels."
LABELLED_NOTE = (
    "Labelled search: the paper's setting. The search used labels, so accuracies on the same "
    "data are not comparable with those of a search without labels."
)
UNKNOWN_NOTE = "The objective is the caller's own: whether it used labels is not known."
_NOTES = {False: UNLABELLED_NOTE, True: LABELLED_NOTE, None: UNKNOWN_NOTE}


def to_document(report: "Report") -> dict[str, Any]:
    """The report as a dict of JSON values."""
    return plain(
        {
            "schema_version": SCHEMA_VERSION,
            "model": _model(report),
            "sparsity": _sparsity(report),
            "fitness": {"objective": report.objective, **report.fitness},
            "accuracy": report.accuracy,
            "perplexity": report.perplexity,
            "baselines": {name: _baseline(one) for name, one in report.baselines.items()},
            "winner": report.winner,
            "candidates": {name: _measure(one) for name, one in report.candidates.items()},
            "evaluations": report.evaluations,
            "generations": report.generations,
            "interrupted": report.interrupted,
            "seconds": report.seconds,
            "history": vars(report.history),
            "trust": report.trust.document(),
            "note": _NOTES[report.uses_labels],
            "warnings": report.warnings,
            "settings": report.settings,
            "versions": versions(),
            "device": device(),
        }
    )


def plain(value: Any) -> Any:
    """The same value in JSON's own types; numbers that aren't finite become None.

    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(np.asarray(value).tolist())
    return str(value)


def describe_preprocessing(spec: ModelSpec) -> dict[str, Any]:
    """How stored images become the model's inputs, as JSON values."""
    return plain(vars(spec.preprocessing))


def _model(report: "Report") -> dict[str, Any]:
    spec = report.model.spec
    total = sum(math.prod(leaf.shape) for leaf in report.model.params.values())
    return {
        "name": spec.name,
        "source": vars(spec.source) if spec.source else None,
        "config": dict(spec.config),
        "input_shape": spec.input_shape,
        "num_outputs": spec.num_outputs,
        "preprocessing": describe_preprocessing(spec),
        "num_weights": {"prunable": report.model.layout.num_weights, "total": total},
    }


def _sparsity(report: "Report") -> dict[str, Any]:
    layers = {
        name: {"sparsity": layer.sparsity, "kept": layer.kept, "size": layer.size}
        for name, layer in report.layers.items()
    }
    return {"target": report.target_sparsity, "achieved": report.sparsity, "layers": layers}


def _baseline(baseline: "Baseline") -> dict[str, Any]:
    return {"raw": _measure(baseline.raw), "repaired": _measure(baseline.repaired)}


def _measure(measure: "Measure") -> dict[str, Any]:
    return {name: v for name, v in vars(measure).items() if name != "perplexity" or v is not None}
