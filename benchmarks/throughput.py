"""How many masked forward passes per second: ours beside the paper's loop and plain vmap?

Every network, number of inputs, population and strategy that is asked for, each in one process
with its competitors in turns (`jgaprune bench`). Competitors in PyTorch run where it is installed.

    python benchmarks/throughput.py --archs paper_mnist paper_cifar10 cifar_resnet20

Writes a JSON file and a picture beside it. `--smoke` runs a tiny grid and keeps nothing.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import matplotlib

from jgaprune import converters
from jgaprune.bench import bench
from jgaprune.engine import Strategy

RESULTS = Path(__file__).parent / "results"
ARCHS = ("paper_mnist", "paper_cifar10", "cifar_resnet20")


def main() -> None:
    """Runs the grid and writes after every cell, so that a stopped run keeps its cells."""
    options = _options()
    cells: list[dict[str, Any]] = []
    grid = itertools.product(
        options.archs, options.inputs, options.populations, options.strategies, options.dtypes
    )
    for arch, num_inputs, population, form, dtype in grid:
        cell = bench(
            converters.untrained(arch),
            num_inputs=num_inputs,
            population=population,
            strategy=_strategy(form, population, dtype),
            rounds=options.rounds,
            rivals=options.rivals,
        )
        cells.append(cell)
        print(_line(cell), flush=True)
        if not options.smoke:
            _write(options.out, cells)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archs", nargs="+", default=list(ARCHS))
    parser.add_argument("--inputs", nargs="+", type=int, default=[256])
    parser.add_argument("--populations", nargs="+", type=int, default=[8])
    parser.add_argument("--strategies", nargs="+", default=["auto"], help="forms, or auto")
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.archs, options.inputs, options.populations = ["digits_cnn"], [4], [2]
        options.strategies, options.rounds = ["sequential", "matmul"], 1
    options.out = options.out or RESULTS / f"throughput_{jax.default_backend()}.json"
    return options


def _strategy(form: str, population: int, dtype: str) -> Strategy | None:
    if form == "auto":
        return None
    return Strategy(form, 1 if form == "sequential" else population, dtype)


def _line(cell: dict[str, Any]) -> str:
    ours = cell["ours"]
    speeds = {name: rival["forwards_per_second"] for name, rival in cell["competitors"].items()}
    return (
        f"{cell['model']} N={cell['num_inputs']} P={cell['population']} {ours['strategy']}: "
        f"{ours['forwards_per_second']:.1f}/s, {ours['sgemm_fraction']:.0%} of a product, "
        f"{cell['pure_inference_fraction']:.0%} of pure inference, "
        f"update {cell['update_fraction']:.1%}; "
        + ", ".join(f"{name} {speed:.1f}/s" for name, speed in speeds.items())
    )


def _write(path: Path, cells: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"question": __doc__.partition("\n")[0], "cells": cells}
    path.write_text(json.dumps(document, indent=1) + "\n")
    _draw(path.with_suffix(".png"), cells)


def _draw(path: Path, cells: list[dict[str, Any]]) -> None:
    """Forwards per second of everyone, one group of bars per cell."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for cell in cells for name in cell["competitors"]))
    figure, axes = pyplot.subplots(figsize=(2 + 2 * len(cells), 4), layout="constrained")
    width = 0.8 / (len(names) + 1)
    for place, name in enumerate(["jgaprune", *names]):
        heights = [_speed(cell, name) for cell in cells]
        axes.bar([i + place * width for i in range(len(cells))], heights, width, label=name)
    axes.set_xticks(
        [i + 0.4 - width / 2 for i in range(len(cells))],
        [f"{cell['model']}\nN={cell['num_inputs']} P={cell['population']}" for cell in cells],
    )
    axes.set_yscale("log")
    axes.set_ylabel("masked forward passes per second")
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _speed(cell: dict[str, Any], name: str) -> float:
    if name == "jgaprune":
        return cell["ours"]["forwards_per_second"]
    return cell["competitors"].get(name, {"forwards_per_second": 0.0})["forwards_per_second"]


if __name__ == "__main__":
    main()
