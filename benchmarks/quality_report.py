"""What `quality.py` shows of its runs: a line per cell, a picture, and a table per source."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from documents import COLOURS, picture
from quality_methods import ONE_SHOT, PAPER, SEARCHES, SPARSE_GPT, STRAIGHT_THROUGH, Run

Cell = dict[str, Any]
OURS = "prune"
_EVOLVED = "evolved, not distilled"
_DISTILLED = "best one-shot, distilled"
_CHOSEN = "best one-shot, distilled or not"
_COLUMNS: dict[str, tuple[str, ...]] = {
    "best one-shot, repaired": (
        *(f"{name}, repaired" for name in ONE_SHOT),
        f"{SPARSE_GPT}, batch_norm_delta",
        f"{SPARSE_GPT}, reconstruct",
    ),
    "best one-shot, distilled": (_DISTILLED, _CHOSEN),
    "gradual, repaired": ("gradual, repaired",),
    "straight-through alone": (
        f"{STRAIGHT_THROUGH}, repaired",
        f"{STRAIGHT_THROUGH} alone, batch_norm_delta",
        f"{STRAIGHT_THROUGH} alone, reconstruct",
    ),
    "random search": ("random_search",),
    "hill climbing": ("hill_climbing",),
    "paper, best strategy": PAPER,
}
"""Baselines of the table, and the methods that each is the best of, by mean test accuracy."""


def accuracies(run: Run) -> dict[str, float]:
    """Accuracy of every method that a run has, in 0..1."""
    baselines = run["baselines"]
    found = {"best one-shot, raw": max(_raw(baselines))}
    found |= {f"{name}, repaired": one["repaired"]["accuracy"] for name, one in baselines.items()}
    for name, title in ((SPARSE_GPT, SPARSE_GPT), (STRAIGHT_THROUGH, f"{STRAIGHT_THROUGH} alone")):
        for repair, reached in run.get(name, {"accuracy": {}})["accuracy"].items():
            found[f"{title}, {repair}"] = reached
    if "distilled" in run:
        found[_DISTILLED] = run["distilled"]["accuracy"]
        if "chosen" in run["distilled"]:
            found[_CHOSEN] = run["distilled"]["chosen"]
    rivals = run.get("rivals", {})
    found |= {name: rivals[name]["accuracy"] for name in SEARCHES if name in rivals}
    found[_EVOLVED] = run["evolved"]["candidates"]["evolved"]["accuracy"]
    return {**found, OURS: run["evolved"]["accuracy"]}


def values(cell: Cell) -> dict[str, list[float]]:
    """Per cent of every method, one number per key that has it; none of keys that lack ours."""
    found: dict[str, list[float]] = {}
    for run in (one for one in cell["runs"] if "evolved" in one):
        for name, reached in accuracies(run).items():
            found.setdefault(name, []).append(100 * reached)
    return found


def line(cell: Cell) -> str:
    """Means and deviations of a cell, for people who watch."""
    shown = ", ".join(f"{name} {_spread(one)}" for name, one in values(cell).items())
    dense = 100 * cell["runs"][0]["dense"]
    return f"{cell['inputs']} {cell['sparsity']:.0%} (dense {dense:.1f}): {shown}"


def summary(cells: Sequence[Cell]) -> str:
    """A Markdown table per source of inputs.

    A baseline is beaten if our mean is higher by more than twice the larger of the two standard
    deviations over keys. The best of several methods is the one of the highest mean on the test
    images, which favours the baselines.
    """
    return "\n\n".join(
        "\n".join(_table(source, [cell for cell in cells if cell["inputs"] == source]))
        for source in _sources(cells)
    )


def draw(path: Path, cells: Sequence[Cell]) -> None:
    """Accuracy per method, a colour per sparsity, with the spread over keys; a panel per source."""
    sources = _sources(cells)
    names = _in_order(values(cell) for cell in cells)
    labels = [name.replace("_", " ") for name in names]
    height = 1.3 + 0.24 * len(names)
    with picture(path, 4.2 + 4.2 * len(sources), height, panels=len(sources)) as axes:
        for number, (panel, source) in enumerate(zip(axes, sources, strict=True)):
            _draw_source(panel, names, source, cells)
            panel.set(xlabel="accuracy, %", title=f"inputs: {source}", ylim=(len(names) - 0.4, -1))
            panel.set_yticks(range(len(names)), [""] * len(names) if number else labels)
            panel.get_yticklabels()[-1].set_fontweight("bold")
        marks = {}  # of all panels, each once
        for panel in axes:
            handles, shown = panel.get_legend_handles_labels()
            marks |= dict(zip(shown, handles, strict=True))
        order = sorted(marks, key=lambda label: float(label.split()[0]))
        about = {"title": "sparsity", "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        axes[-1].legend([marks[one] for one in order], order, **about)


def _draw_source(panel: Any, names: list[str], source: str, cells: Sequence[Cell]) -> None:
    dense = 100 * cells[0]["runs"][0]["dense"]
    panel.axvline(dense, color="#333333", linewidth=1, linestyle=":", label="0 % (dense)")
    sparsities = sorted({cell["sparsity"] for cell in cells})
    for cell in (cell for cell in cells if cell["inputs"] == source):
        found, number = values(cell), sparsities.index(cell["sparsity"])
        places = [place for place, name in enumerate(names) if name in found]
        reached = [found[names[place]] for place in places]
        panel.errorbar(
            [statistics.mean(one) for one in reached],
            places,
            xerr=[_deviation(one) for one in reached],
            fmt="osD^vP"[number % 6],
            markersize=5,
            color=COLOURS[number % len(COLOURS)],
            label=f"{100 * cell['sparsity']:g} %",
        )


def _table(source: str, cells: Sequence[Cell]) -> list[str]:
    heads = [f"inputs: {source}", *_COLUMNS, _EVOLVED, OURS, "keys", "above all by 2 sd"]
    rows = [heads, ["---"] * len(heads)]
    for cell in cells:
        found = values(cell)
        ours = found[OURS]
        best = {name: _best(found, of) for name, of in _COLUMNS.items()}
        shown = [_entry(one, len(_COLUMNS[name]), len(ours)) for name, one in best.items()]
        verdict = _verdict(ours, {name: one[1] for name, one in best.items() if one})
        ends = [_spread(found[_EVOLVED]), _spread(ours), str(len(ours)), verdict]
        rows.append([f"{100 * cell['sparsity']:g} %", *shown, *ends])
    return [f"| {' | '.join(row)} |" for row in rows]


def _best(found: dict[str, list[float]], names: Sequence[str]) -> tuple[str, list[float]] | None:
    """The method of the highest mean, and its values."""
    known = [name for name in names if name in found]
    if not known:
        return None
    best = max(known, key=lambda name: statistics.mean(found[name]))
    return best, found[best]


def _entry(best: tuple[str, list[float]] | None, out_of: int, num_keys: int) -> str:
    if best is None:
        return "-"
    name, reached = best
    which = [name.removesuffix(", repaired")] if out_of > 1 else []
    keys = [f"n = {len(reached)}"] if len(reached) != num_keys else []
    about = ", ".join(which + keys)
    return _spread(reached) + (f" ({about})" if about else "")


def _verdict(ours: list[float], baselines: dict[str, list[float]]) -> str:
    if len(ours) < 2:
        return "one key"
    not_beaten = [
        name
        for name, one in baselines.items()
        if statistics.mean(ours) - statistics.mean(one)
        <= 2 * max(_deviation(ours), _deviation(one))
    ]
    return f"no: {', '.join(not_beaten)}" if not_beaten else "yes"


def _raw(baselines: dict[str, Any]) -> list[float]:
    return [baselines[name]["raw"]["accuracy"] for name in ONE_SHOT if name in baselines]


def _spread(one: list[float]) -> str:
    deviation = f" ± {_deviation(one):.1f}" if len(one) > 1 else ""
    return f"{statistics.mean(one):.1f}{deviation}"


def _deviation(one: list[float]) -> float:
    return statistics.stdev(one) if len(one) > 1 else 0.0


def _sources(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell["inputs"] for cell in cells))


def _in_order(found: Iterable[dict[str, Any]]) -> list[str]:
    """Names of methods, ours last."""
    names = dict.fromkeys(name for one in found for name in one)
    last = (_EVOLVED, OURS)
    return [*(name for name in names if name not in last), *last]
