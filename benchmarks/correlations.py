"""How alike an objective and accuracy rank masks, how sure that is, and what limits it.

Spearman correlations of fitness with the error, with intervals of 95 % from a bootstrap over the
masks. Accuracy on few images and fitness on few inputs are noisy themselves: how much is told by
their agreement with themselves on two halves, from which Spearman and Brown's formula estimates
the reliability of the whole. No fitness can be expected to correlate with a measured accuracy more
than the square root of that accuracy's reliability.
"""

from pathlib import Path
from typing import Any

import numpy as np
from documents import COLOURS, picture
from scipy.stats import rankdata, spearmanr

GOAL = 0.9
"""Correlation that the default objective should reach."""
_RESAMPLES = 1000


def correlation(fitness: np.ndarray, error: np.ndarray) -> list[float] | None:
    """Spearman's, and the ends of its interval; None where one of both never differs."""
    if np.ptp(fitness) == 0 or np.ptp(error) == 0:
        return None
    draws = np.random.default_rng(0).integers(len(error), size=(_RESAMPLES, len(error)))
    first, second = (rankdata(values[draws], axis=1) for values in (fitness, error))
    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    sizes = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    resampled = (first * second).sum(axis=1)[sizes > 0] / sizes[sizes > 0]
    ends = np.quantile(resampled, (0.025, 0.975))
    return [round(float(value), 3) for value in (spearmanr(fitness, error).statistic, *ends)]


def correlations(fitness: dict[str, np.ndarray], error: np.ndarray) -> dict[str, Any]:
    """By objective: over all masks, and over the half that all objectives together prefer."""
    ranks = [rankdata(values) for values in fitness.values()]
    better = np.argsort(np.mean(ranks, axis=0), kind="stable")[: len(error) // 2]
    return {
        name: {
            "all": correlation(values, error),
            "better_half": correlation(values[better], error[better]),
        }
        for name, values in fitness.items()
    }


def reliability(first: np.ndarray, second: np.ndarray) -> float | None:
    """Of a measure, from what its two halves say of the same masks.

    >>> reliability(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    0.667
    """
    between = correlation(first, second)
    return None if between is None else round(2 * between[0] / (1 + between[0]), 3)


def draw(path: Path, cells: list[dict[str, Any]]) -> None:
    """Writes the picture beside the document: a panel per cell, a row per objective."""
    names = list(cells[0]["spearman"])
    cells = sorted(cells, key=lambda cell: (cell["model"], cell["sparsity"]))
    with picture(path, 2.6 + 2.1 * len(cells), 3.6, len(cells)) as axes:
        for panel, cell in zip(axes, cells, strict=True):
            for index, (half, label) in enumerate((("all", "all"), ("better_half", "better half"))):
                rows = np.arange(len(names)) + 0.3 * index - 0.15
                _draw_row(panel, rows, cell["spearman"], half, label, COLOURS[index])
            panel.axvline(GOAL, color="#888888", linewidth=0.8, linestyle="--")
            panel.set_yticks(
                np.arange(len(names)), names if panel is axes[0] else [""] * len(names)
            )
            panel.set_title(f"{cell['model']}, {cell['sparsity']:.0%}", fontsize=9)
            panel.set_xlim(min(0.0, *panel.get_xlim()), 1.02)
            panel.set_xticks([0, 0.5, GOAL])
            panel.invert_yaxis()
        figure, drawn = axes[0].figure, axes[0].get_legend_handles_labels()
        figure.legend(*drawn, fontsize=7, loc="outside upper right", ncols=2)
        figure.supxlabel("Spearman correlation of fitness with the error", fontsize=9)


def _draw_row(panel: Any, rows: np.ndarray, spearman: Any, half: str, label: str, colour: str):
    known = [
        (row, one[half]) for row, one in zip(rows, spearman.values(), strict=True) if one[half]
    ]
    if known:
        places, values = zip(*known, strict=True)
        middle, low, high = np.transpose(values)
        error = np.maximum(0, [middle - low, high - middle])
        panel.errorbar(middle, places, xerr=error, fmt="o", ms=4, color=colour, label=label, lw=1)
