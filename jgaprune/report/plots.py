"""The pictures of a run: how the search went, where weights were removed, and who is better.

Drawn on `matplotlib.figure.Figure` alone: no pyplot, no display, no global state. This module
is imported only when a report is saved.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jgaprune.report.report import Measure, Report
from jgaprune.report.text import EVOLVED, percent

_BLUE, _ORANGE, _GREEN, _PALE, _INK = "#1f5fa8", "#c8590a", "#2c8a4b", "#a9bcd3", "#333333"
_FIFTHS = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
_PERCENT = PercentFormatter(1.0, decimals=0, symbol=" %")
_DPI = 150
_LOG_FROM_RATIO = 20


def draw_plots(report: Report, folder: Path) -> None:
    """Writes the PNG files of a report into an existing folder."""
    figures = {
        "fitness_and_accuracy.png": search_figure(report),
        "sparsity_per_layer.png": layers_figure(report),
        "baselines.png": baselines_figure(report),
    }
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=_DPI)


def search_figure(report: Report) -> Figure:
    """Best and mean fitness over evaluations; below it the best mask's accuracy, if known."""
    history = report.history
    num_panels = 2 if history.accuracy else 1
    figure = Figure(figsize=(7.5, 1.2 + 2.7 * num_panels), layout="constrained")
    panels = figure.subplots(num_panels, sharex=True, squeeze=False)[:, 0]
    _draw_fitness(panels[0], report)
    if history.accuracy:
        _draw_accuracy(panels[1], report)
    figure.suptitle(f"{_what(report)}: the search", fontsize=12)
    panels[-1].set_xlabel("evaluations (masks tried)")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def layers_figure(report: Report) -> Figure:
    """The share of each prunable tensor that is removed, beside that of all together."""
    layers = report.layers
    figure = Figure(figsize=(7.5, 1.6 + 0.27 * len(layers)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(layers), [layer.sparsity for layer in layers.values()], color=_BLUE)
    for row, layer in enumerate(layers.values()):
        text = f"{percent(layer.sparsity)} of {layer.size:,}"
        axes.text(1.02, row, text, va="center", fontsize=8, color=_INK)
    axes.axvline(report.sparsity, color=_ORANGE, linestyle="--", linewidth=1.5)
    axes.set_title(f"{_what(report)}: tensor by tensor")
    axes.set_xlabel("share of the tensor's weights that is removed (dashed: of all tensors)")
    axes.set_ylabel("tensor")
    axes.set(xlim=(0, 1.32), xticks=_FIFTHS)
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    _finish(axes, "x")
    return figure


def baselines_figure(report: Report) -> Figure:
    """The result beside one-shot masks, raw and repaired: by accuracy if known, else fitness."""
    by_accuracy = report.accuracy is not None
    ours = "result" if by_accuracy else EVOLVED
    names = [*report.baselines, ours]
    figure = Figure(figsize=(7.5, 1.6 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    methods = report.baselines.values()
    rows = range(len(methods))
    raw = [_value(method.raw, by_accuracy) for method in methods]
    repaired = [_value(method.repaired, by_accuracy) for method in methods]
    best = Measure(report.fitness["best"], (report.accuracy or {}).get("pruned"))
    if report.is_repaired:
        above, below = [row - 0.2 for row in rows], [row + 0.2 for row in rows]
        _draw_bars(axes, above, raw, _PALE, "one-shot", by_accuracy)
        _draw_bars(axes, below, repaired, _BLUE, "one-shot, repaired", by_accuracy)
    else:
        _draw_bars(axes, rows, raw, _BLUE, "one-shot", by_accuracy)
    _draw_bars(axes, [len(rows)], [_value(best, by_accuracy)], _GREEN, ours, by_accuracy)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_ylabel("method")
    axes.set_title(f"{_what(report)}: against one-shot pruning")
    _scale_values(axes, report, [*raw, *repaired])
    _finish(axes, "x")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_fitness(axes: Axes, report: Report) -> None:
    history = report.history
    mean_fitness = [value if math.isfinite(value) else math.nan for value in history.mean_fitness]
    # A line through one point is invisible.
    marker = "o" if len(history.evaluations) == 1 else None
    axes.plot(
        history.evaluations,
        mean_fitness,
        color=_PALE,
        marker=marker,
        label="mean of the generation",
    )
    axes.plot(
        history.evaluations, history.best, color=_BLUE, marker=marker, label="best so far", lw=2
    )
    if _wants_log_scale([*history.best, *mean_fitness]):
        axes.set_yscale("log")
    axes.set_ylabel(f"fitness: {report.objective}\n(lower is better)")
    _finish(axes, "y")
    axes.legend(frameon=False, fontsize=9)


def _draw_accuracy(axes: Axes, report: Report) -> None:
    evaluations, accuracies = zip(*report.history.accuracy, strict=True)
    axes.plot(evaluations, accuracies, color=_GREEN, marker="o", markersize=4, label="best so far")
    if report.accuracy:
        axes.axhline(report.accuracy["dense"], color=_ORANGE, linestyle="--", label="dense model")
    axes.set_ylabel("accuracy\n(evaluation data)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    _finish(axes, "y")
    axes.legend(frameon=False, fontsize=9)


def _draw_bars(
    axes: Axes,
    positions: Sequence[float],
    values: Sequence[float],
    color: str,
    name: str,
    by_accuracy: bool,
) -> None:
    height = 0.5 if len(positions) == 1 else 0.38
    bars = axes.barh(positions, values, height=height, color=color, label=name)
    texts = [percent(value) if by_accuracy else f"{value:.3g}" for value in values]
    for label in axes.bar_label(bars, texts, padding=3, fontsize=8, color=_INK):
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})


def _scale_values(axes: Axes, report: Report, values: Sequence[float]) -> None:
    """Units and limits of the value axis of the comparison."""
    if report.accuracy is None:
        axes.set_xlabel(f"fitness: {report.objective} (lower is better)")
        if _wants_log_scale([*values, report.fitness["best"]]):
            axes.set_xscale("log")
        axes.margins(x=0.18)
        return
    dense = report.accuracy["dense"]
    axes.set_xlabel(f"accuracy on the evaluation data (dashed: dense model, {percent(dense)})")
    axes.axvline(dense, color=_ORANGE, linestyle="--", linewidth=1.5, zorder=0)
    axes.set(xlim=(0, 1.1), xticks=_FIFTHS)
    axes.xaxis.set_major_formatter(_PERCENT)


def _wants_log_scale(values: Sequence[float]) -> bool:
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) > _LOG_FROM_RATIO * min(known)


def _finish(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.grid(axis=grid, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _value(measure: Measure, by_accuracy: bool) -> float:
    value = measure.accuracy if by_accuracy else measure.fitness
    return math.nan if value is None or not math.isfinite(value) else value


def _what(report: Report) -> str:
    return f"{report.model.spec.name} at {percent(report.sparsity)} sparsity"
