"""The files that a search and its report look at: read, checked, and described."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jgaprune.cli.deliver import bytes_of_result
from jgaprune.cli.faults import collect
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.masks import kept_for
from jgaprune.model import Model
from jgaprune.report import LABELLED_OBJECTIVES, Report, check_out


class SearchData(NamedTuple):
    """What the search and the report look at; None where they do without."""

    inputs: np.ndarray | None
    labels: np.ndarray | None
    evaluation: tuple[np.ndarray, np.ndarray] | None


def read_search_data(
    model: Model,
    sparsity: float,
    inputs: str | None,
    eval_data: str | None,
    objective: str,
    out: str | None,
    overwrite: bool,
) -> SearchData:
    """Reads the data and checks all that can be wrong before a search; all faults together.

    Where nothing is to be written, `out` is None.
    """
    _, _, searched, evaluation = collect(
        lambda: kept_for(sparsity, model.layout.num_weights),
        lambda: out and check_out(out, overwrite=overwrite, num_bytes=bytes_of_result(model)),
        lambda: read_inputs_of(model, inputs, objective),
        lambda: read_evaluation_data(eval_data, model.spec) if eval_data else None,
    )
    return searched._replace(evaluation=evaluation)


def read_inputs_of(model: Model, inputs: str | None, objective: str) -> SearchData:
    """Inputs of the search, and labels only for an objective that is defined by them."""
    if objective in LABELLED_OBJECTIVES:
        if inputs is None:
            raise ValueError(
                f"objective {objective} needs labels: give --inputs a .npz with the arrays images "
                "and labels. Without labels, use another objective."
            )
        return SearchData(*read_evaluation_data(inputs, model.spec), None)
    return SearchData(None if inputs is None else read_inputs(inputs, model.spec), None, None)


def with_files(report: Report, files: dict[str, str | None]) -> Report:
    """The report with the files it came from among its settings."""
    described = {name: _describe(Path(path)) for name, path in files.items() if path}
    return replace(report, settings={**report.settings, "files": described})


def _describe(path: Path) -> dict[str, str | None]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    return {"path": str(path.resolve()), "sha256": digest}
