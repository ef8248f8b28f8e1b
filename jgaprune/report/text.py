"""`report.txt` and the comparison that the command line prints: aligned plain text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jgaprune.report.document import to_document
from jgaprune.report.trust import number

if TYPE_CHECKING:
    from jgaprune.report.report import Report

EVOLVED = "evolved (this run)"
_MISSING = "-"


def render(report: "Report") -> str:
    """The whole report as text, sections separated by blank lines."""
    document = to_document(report)
    title = f"{document['model']['name']} pruned to {percent(report.sparsity)} sparsity"
    sections = [
        f"{title}\n{'=' * len(title)}",
        headline(report),
        *(f"WARNING: {sentence}" for sentence in document["warnings"]),
        _section("Model", pairs(_model(document))),
        _section("Comparison (fitness: lower is better)", comparison(report)),
        *([_section("Result", choice(report))] if choice(report) else []),
        _section("Search", pairs(_search(document))),
        *([_section("Trust", pairs(report.trust.lines()))] if report.trust.lines() else []),
        _section("Seconds", pairs({k: f"{v:.1f}" for k, v in report.seconds.items()})),
        _section("Layers", _layers(report)),
        _section("Settings", pairs({k: in_words(v) for k, v in document["settings"].items()})),
        _section("Machine", pairs(_machine(document))),
    ]
    return "\n\n".join(sections) + "\n"


def headline(report: "Report") -> str:
    """Which network was saved, and how good it is."""
    reached = report.perplexity or report.accuracy
    name, show = ("perplexity", number) if report.perplexity else ("accuracy", percent)
    worth = (
        [f"{name} {show(reached['pruned'])} (dense {show(reached['dense'])})"] if reached else []
    )
    lines = ["; ".join([f"Saved: {report.winner}", *worth])]
    if not report.winner.startswith("evolved"):
        lines.append("What the search found was no better than this seed on inputs held out.")
    return "\n".join(lines)


def comparison(report: "Report") -> str:
    """The table that sets the evolved masks beside the dense model and the one-shot baselines.

    `repaired` is the column to its left after the run's repair. Columns are left out for a run
    without evaluation data, and for one without repair.
    """
    quality = "perplexity" if report.perplexity else "accuracy"
    show = _number if report.perplexity else _percent
    reached = report.perplexity or report.accuracy or {}
    found = report.candidates.get("evolved")
    evolved = reached.get("pruned") if found is None else getattr(found, quality)
    best, pruned = _number(report.fitness["best"]), show(evolved)
    rows = [["method", "fitness", "repaired", quality, "repaired"]]
    rows.append(["dense", _MISSING, _MISSING, show(reached.get("dense")), _MISSING])
    for name, baseline in report.baselines.items():
        raw, repaired = baseline.raw, baseline.repaired
        fitness = [_number(raw.fitness), _number(repaired.fitness)]
        rows.append([name, *fitness, *(show(getattr(one, quality)) for one in (raw, repaired))])
    rows.append([EVOLVED, _MISSING, best, _MISSING, pruned])
    if not report.is_repaired:
        rows[-1] = [EVOLVED, best, _MISSING, pruned, _MISSING]
        rows = [[name, fitness, value] for name, fitness, _, value, _ in rows]
    return table(rows if reached else [row[: len(row) // 2 + 1] for row in rows])


def choice(report: "Report") -> str:
    """What the result was chosen from, and which it is; empty where there was no choice."""
    if len(report.candidates) < 2:
        return ""
    quality = "perplexity" if report.perplexity else "accuracy"
    show = _number if report.perplexity else _percent
    rows = [["result", "fitness on inputs held out", quality]]
    for name, measure in report.candidates.items():
        mark = f"{name} <- saved" if name == report.winner else name
        rows.append([mark, _number(measure.fitness), show(getattr(measure, quality))])
    return table(rows if report.perplexity or report.accuracy else [row[:2] for row in rows])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns of equal width: the first column to the left, the others to the right.

    >>> print(table([["method", "fitness"], ["dense", "0.5"]]))
    method  fitness
    dense       0.5
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        [cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(line)]
        for line in (zip(row, widths, strict=True) for row in rows)
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def pairs(items: Mapping[str, str]) -> str:
    """Names and values in two columns, both to the left.

    >>> print(pairs({"seed": "0", "space": "offsets"}))
    seed   0
    space  offsets
    """
    width = max(map(len, items), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in items.items())


def percent(fraction: float) -> str:
    """A fraction as a percentage.

    >>> percent(0.9163)
    '91.63 %'
    """
    return f"{100 * fraction:.2f} %"


def _model(document: dict[str, Any]) -> dict[str, str]:
    model, sparsity = document["model"], document["sparsity"]
    source, weights = model["source"], model["num_weights"]
    kept = sum(layer["kept"] for layer in sparsity["layers"].values())
    return {
        "architecture": " ".join(
            [model["name"], *(f"{k}={v}" for k, v in model["config"].items())]
        ),
        "weights from": source["path"] if source else "a Python object",
        **({"sha256": source["sha256"]} if source else {}),
        "weights": f"{weights['total']:,}, of which {weights['prunable']:,} are prunable",
        "sparsity": f"{percent(sparsity['achieved'])} ({percent(sparsity['target'])} asked for)",
        "kept": f"{kept:,} of the prunable weights",
    }


def _search(document: dict[str, Any]) -> dict[str, str]:
    fitness = document["fitness"]
    stopped = " (interrupted)" if document["interrupted"] else ""
    return {
        "objective": fitness["objective"],
        "fitness": f"{_number(fitness['start'])} at the start, {_number(fitness['best'])} at best",
        "evaluations": f"{document['evaluations']:,}{stopped}",
        "generations": f"{document['generations']:,}",
        "labels": document["note"],
    }


def _layers(report: "Report") -> str:
    rows = [["tensor", "sparsity", "kept", "size"]]
    for name, layer in report.layers.items():
        rows.append([name, percent(layer.sparsity), f"{layer.kept:,}", f"{layer.size:,}"])
    return table(rows)


def _machine(document: dict[str, Any]) -> dict[str, str]:
    device = document["device"]
    where = f"{device['count']} x {device['platform']} ({device['kind']})"
    return {"device": where, **document["versions"]}


def _section(title: str, body: str) -> str:
    return "\n".join([title, *(f"  {line}" for line in body.splitlines())])


def in_words(value: Any) -> str:
    """A setting, nested as it may be, for people.

    >>> in_words([{"space": "bases", "seeds": ["lamp", "erk"]}, {"space": "weights", "seeds": []}])
    'space bases, seeds [lamp, erk]; space weights, seeds -'
    >>> in_words({"steps": 300, "rate": 0.003, "resumed": False, "target": None})
    'steps 300, rate 0.003, resumed no, target -'
    """
    if value is None or value in ([], {}):
        return _MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_bracketed(part)}" for name, part in value.items())
    if isinstance(value, list):
        nested = any(isinstance(part, Mapping) for part in value)
        return ("; " if nested else ", ").join(map(in_words, value))
    return str(value)


def _bracketed(value: Any) -> str:
    """A part of a setting; brackets keep its own parts together."""
    is_several = isinstance(value, list | Mapping) and len(value) > 0
    return f"[{in_words(value)}]" if is_several else in_words(value)


def _number(value: float | None) -> str:
    return _MISSING if value is None else number(value)


def _percent(fraction: float | None) -> str:
    return _MISSING if fraction is None else percent(fraction)
