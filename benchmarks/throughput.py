"""How many masked forward passes per second: ours beside the paper's loop and plain vmap?

Every network, number of inputs, population and strategy that is asked for, each in one process
with its competitors in turns (`jgaprune bench`). Competitors in PyTorch run where it is installed.

    python benchmarks/throughput.py --archs paper_mnist paper_cifar10 cifar_resnet20

Writes a JSON file and a picture beside it. `--smoke` runs a tiny grid and keeps nothing.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

from documents import document, out_path, parser, picture, write

from jgaprune import converters
from jgaprune.bench import bench
from jgaprune.engine import Strategy

ARCHS = ("paper_mnist", "paper_cifar10", "cifar_resnet20")

_MOST_UNROLLED = 4
"""Networks side by side in one program: its size, and the time to compile it, grow with them."""


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
            strategy=_strategy(form, min(options.chunk or population, population), dtype),
            dtype=dtype,
            rounds=options.rounds,
            rivals=options.rivals,
        )
        cells.append(cell)
        print(_line(cell), flush=True)
        if not options.smoke:
            _write(options.out, cells)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--archs", nargs="+", default=list(ARCHS))
    arguments.add_argument("--inputs", nargs="+", type=int, default=[256])
    arguments.add_argument("--populations", nargs="+", type=int, default=[8])
    arguments.add_argument("--strategies", nargs="+", default=["auto"], help="forms, or auto")
    arguments.add_argument("--dtypes", nargs="+", default=["float32"])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True)
    arguments.add_argument(
        "--chunk", type=int, help="masks side by side; by default the whole population"
    )
    options = arguments.parse_args()
    if options.smoke:
        options.archs, options.inputs, options.populations = ["digits_cnn"], [4], [2]
        options.strategies, options.rounds = ["sequential", "matmul"], 1
        options.dtypes, options.chunk = ["float32"], None
    options.out = out_path(options, "throughput")
    return options


def _strategy(form: str, chunk: int, dtype: str) -> Strategy | None:
    if form == "auto":
        return None
    if form == "unrolled":
        chunk = min(chunk, _MOST_UNROLLED)
    return Strategy(form, 1 if form == "sequential" else chunk, dtype)


def _line(cell: dict[str, Any]) -> str:
    ours = cell["ours"]
    speeds = {name: rival["forwards_per_second"] for name, rival in cell["competitors"].items()}
    return (
        f"{cell['model']} N={cell['num_inputs']} P={cell['population']} {ours['strategy']}: "
        f"{ours['forwards_per_second']:.1f}/s, {ours['product_fraction']:.0%} of a product, "
        f"{cell['pure_inference_fraction']:.0%} of pure inference, "
        f"update {cell['update_fraction']:.1%}; "
        + ", ".join(f"{name} {speed:.1f}/s" for name, speed in speeds.items())
    )


def _write(path: Path, cells: list[dict[str, Any]]) -> None:
    write(path, document(__doc__, cells=cells))
    _draw(path, cells)


def _draw(path: Path, cells: list[dict[str, Any]]) -> None:
    """Forwards per second, a group of bars per task: our strategies, then the competitors."""
    groups: dict[str, dict[str, float]] = {}
    for cell in cells:
        group = groups.setdefault(_task(cell), {})
        group[f"jgaprune, {cell['ours']['strategy']}"] = cell["ours"]["forwards_per_second"]
        for name, rival in cell["competitors"].items():
            group.setdefault(name, rival["forwards_per_second"])
    names = sorted({name for group in groups.values() for name in group}, key=_ours_first)
    width = 0.8 / len(names)
    with picture(path, 2 + 1.8 * len(groups), 4) as (axes,):
        for place, name in enumerate(names):
            heights = [group.get(name, 0.0) for group in groups.values()]
            axes.bar([i + place * width for i in range(len(groups))], heights, width, label=name)
        axes.set_xticks([i + 0.4 - width / 2 for i in range(len(groups))], list(groups))
        axes.set_yscale("log")
        axes.set_ylabel("masked forward passes per second")
        axes.legend(fontsize=7)


def _ours_first(name: str) -> tuple[bool, str]:
    return not name.startswith("jgaprune"), name


def _task(cell: dict[str, Any]) -> str:
    return f"{cell['model']}\nN={cell['num_inputs']} P={cell['population']}"


if __name__ == "__main__":
    main()
