"""What the benchmarks share: their JSON documents, their pictures, and how strategies are named.

A document says what was asked, on which device and under which versions. It is written in one
step, so that a run that is stopped leaves the cells it has done.
"""

import argparse
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure

from jgaprune.bench import Timing
from jgaprune.engine import FORMS, Strategy
from jgaprune.report.environment import device, versions

RESULTS = Path(__file__).parent / "results"
COLOURS = ("#1f5fa8", "#c8590a", "#2c8a4b", "#8a4b8c", "#a9bcd3", "#333333")
SPARSITY = 0.5
"""Half of the weights, as in the paper. Dense forward passes take as long at any sparsity."""
_DPI = 150
_SIDE_BY_SIDE = {"cpu": 4}
_SIDE_BY_SIDE_ELSEWHERE = 16
_NUMBERS = re.compile(r"\[\s+-?\d[^\[\]{}\"]*\]")


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the two options that every benchmark has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--out", type=Path, help="JSON file")
    made.add_argument("--smoke", action="store_true", help="tiny, and keeps nothing")
    return made


def add_strategy(made: argparse.ArgumentParser) -> None:
    """The options of one form of evaluation, for `chosen_strategy`."""
    made.add_argument("--strategy", choices=FORMS, help="sequential on CPU, else vmap")
    made.add_argument("--chunk", type=int, help="masks side by side; 4 on CPU, else 16")


def chosen_strategy(options: argparse.Namespace, dtype: str) -> Strategy:
    """One fixed strategy: what was asked for, or the form and chunk that suit the backend."""
    usual = "sequential" if jax.default_backend() == "cpu" else "vmap"
    return strategy_of(options.strategy or usual, options.chunk, dtype)


def strategy_of(form: str, chunk: int | None, dtype: str) -> Strategy:
    """A strategy; `chunk` None for the backend's usual one."""
    usual = _SIDE_BY_SIDE.get(jax.default_backend(), _SIDE_BY_SIDE_ELSEWHERE)
    return Strategy(form, 1 if form == "sequential" else chunk or usual, dtype)


def out_path(options: argparse.Namespace, name: str) -> Path:
    """Where the document goes: as asked, or by name and backend among the results."""
    return options.out or RESULTS / f"{name}_{jax.default_backend()}.json"


def document(docstring: str | None, **contents: Any) -> dict[str, Any]:
    """Contents after the script's question, the device, the versions and the commit."""
    question = (docstring or "").partition("\n")[0]
    about = {"device": device(), "versions": versions(), "commit": commit()}
    return {"question": question, **about, **contents}


@cache
def commit() -> str | None:
    """That of the code, "+" if it has been changed since; None outside git."""
    described = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    told = subprocess.run(
        described, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or None


def write(path: Path, contents: dict[str, Any]) -> None:
    """Writes a JSON document in one step, lists of numbers on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    text = _NUMBERS.sub(lambda found: " ".join(found[0].split()), json.dumps(contents, indent=1))
    partial.write_text(text + "\n")
    partial.replace(path)


def runs_done(path: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs that an earlier call has left; ends the script if they are of something else.

    Args:
      path: of the document.
      about: what all its runs have in common.
    """
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    other = {name: found[name] for name in about if found[name] != about[name]}
    if other:
        raise SystemExit(f"{path} is of {other}; pass another --out")
    return found["runs"]


def spread(timing: Timing, scale: float = 1.0) -> dict[str, float]:
    """Median and quartiles in seconds, for a document."""
    return {name: scale * getattr(timing, name) for name in ("median", "low", "high")}


@contextmanager
def picture(path: Path, width: float, height: float, panels: int = 1) -> Iterator[Any]:
    """Axes `[panels]` side by side; saved as a PNG beside the document `path`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    yield axes
    for panel in axes:
        panel.grid(True, which="major", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path.with_suffix(".png"), dpi=_DPI)
