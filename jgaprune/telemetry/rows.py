"""What is logged of a run: a row per generation, and the measures of its result."""

import math
from bisect import bisect_left
from collections.abc import Mapping

from jgaprune.driver import Progress
from jgaprune.report import Report
from jgaprune.telemetry.writer import Row

_SERIES = ("best", "mean_fitness", "diversity", "evaluations")


def rows_of(progress: Progress, first: int) -> list[Row]:
    """The generations from `first` up to where the run stands."""
    history = progress.history
    if history is None:
        return []
    count = len(history.best)
    accuracy = {bisect_left(history.evaluations, spent): one for spent, one in history.accuracy}
    rows = []
    for index in range(first, count):
        values = {name: getattr(history, name)[index] for name in _SERIES}
        values["accuracy"] = accuracy.get(index)
        if index >= count - progress.block:
            values["evaluations_per_second"] = progress.evaluations_per_second
        rows.append(Row(index, _finite("search", values)))
    return rows


def measures_of(report: Report) -> dict[str, float]:
    """What the result is worth, and what it took."""
    accuracy, perplexity = report.accuracy or {}, report.perplexity or {}
    measures = {
        "start_fitness": report.fitness["start"],
        "fitness": report.fitness["best"],
        "accuracy": accuracy.get("pruned"),
        "dense_accuracy": accuracy.get("dense"),
        "perplexity": perplexity.get("pruned"),
        "dense_perplexity": perplexity.get("dense"),
        "sparsity": report.sparsity,
        "evaluations": report.evaluations,
        "seconds": report.seconds["total"],
    }
    return _finite("final", measures)


def _finite(group: str, values: Mapping[str, float | None]) -> dict[str, float]:
    """Numbers that every service takes."""
    return {
        f"{group}/{name}": float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }
