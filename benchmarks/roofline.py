"""How near does each strategy come to the roofline of this machine, per network and dtype?

Peaks are measured in turns with the strategies: a large matrix product in float32 and bfloat16,
both at the backend's default precision, and a large copy. The work is `count_flops` of a forward
pass. Bytes that must move, per candidate: its packed mask once, and for every product or
convolution its weights, its inputs and its result once each, in the dtype of the strategy, but
weights, which are stored in float32. Everything else counts as fused into these, and nothing as
staying in a cache from one layer to the next; a program that does keep it there can beat this
roofline. Measured is the evaluation of a whole population, decoding and scoring included.

    python benchmarks/roofline.py --archs paper_mnist cifar_resnet20 --dtypes float32 bfloat16

Writes a JSON file and a picture beside it. `--smoke` runs a tiny case and keeps nothing.
"""

import argparse
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from documents import (
    COLOURS,
    SPARSITY,
    document,
    out_path,
    parser,
    picture,
    spread,
    strategy_of,
    write,
)

from jgaprune import converters
from jgaprune.bench import count_flops, count_values, in_turns, peak_copy, peak_product
from jgaprune.bench.ours import Task, make_task
from jgaprune.bench.timing import Runner
from jgaprune.engine import DTYPES, FORMS, Strategy, evaluate
from jgaprune.masks import num_words
from jgaprune.model import Model

Peaks = dict[str, tuple[Runner, int]]
"""Runners by name, with the operations or bytes of one run."""


def main() -> None:
    """Measures every network and writes after each, so that a stopped run keeps its cells."""
    options = _options()
    cells: list[dict[str, Any]] = []
    peaks: Peaks = {dtype: peak_product(dtype) for dtype in DTYPES}
    peaks["copy"] = peak_copy(2**10) if options.smoke else peak_copy()
    for arch, dtype in itertools.product(options.archs, options.dtypes):
        cells.append(_cell(converters.untrained(arch), dtype, peaks, options))
        print(_lines(cells[-1]), flush=True)
        if not options.smoke:
            write(options.out, document(__doc__, cells=cells))
            with picture(options.out, 7.5, 5) as (axes,):
                _draw(axes, cells)


def _default_forms() -> list[str]:
    """All but the kernel on CPU, where it is only interpreted."""
    return [form for form in FORMS if form != "kernel" or jax.default_backend() != "cpu"]


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--archs", nargs="+", default=["paper_mnist", "paper_cifar10", "cifar_resnet20"]
    )
    arguments.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"])
    arguments.add_argument("--strategies", nargs="+", choices=FORMS, default=_default_forms())
    arguments.add_argument("--inputs", type=int, default=64)
    arguments.add_argument("--population", type=int, default=8)
    arguments.add_argument("--chunk", type=int, help="masks side by side; 4 on CPU, else 16")
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    if options.smoke:
        options.archs, options.strategies = ["lenet5"], ["sequential", "matmul"]
        options.dtypes, options.inputs, options.population, options.rounds = list(DTYPES), 2, 4, 1
    options.out = out_path(options, "roofline")
    return options


def _cell(model: Model, dtype: str, peaks: Peaks, options: argparse.Namespace) -> dict[str, Any]:
    input_key, task_key = jax.random.split(jax.random.key(0))
    inputs = jax.random.normal(input_key, (options.inputs, *model.spec.input_shape))
    task = make_task(model, inputs, options.population, SPARSITY, task_key)
    strategies = [strategy_of(form, options.chunk, dtype) for form in options.strategies]
    timings = in_turns(
        {name: run for name, (run, _) in peaks.items()}
        | {str(one): _evaluation(task, one) for one in strategies},
        rounds=options.rounds,
        at_least_seconds=0.0 if options.smoke else 0.1,
    )
    rates = {name: count / timings[name].median for name, (_, count) in peaks.items()}
    work = count_flops(model.apply, model.params, model.buffers, inputs)
    seconds = {str(one): timings[str(one)].median / options.population for one in strategies}
    return {
        "model": model.spec.name,
        "dtype": dtype,
        "num_inputs": options.inputs,
        "population": options.population,
        "peaks": {f"{name}_per_second": rate for name, rate in rates.items()},
        **_reached(work, bytes_per_forward(model, inputs, dtype), rates, dtype, seconds),
        "seconds": {name: spread(timing) for name, timing in timings.items()},
    }


def _reached(
    flops: int, least_bytes: int, rates: dict[str, float], dtype: str, seconds: dict[str, float]
) -> dict[str, Any]:
    """The bound of one forward pass, and what strategies that take so long for one reach of it."""
    bound = min(rates[dtype], flops / least_bytes * rates["copy"])
    return {
        "flops_per_forward": flops,
        "bytes_per_forward": least_bytes,
        "flops_per_byte": flops / least_bytes,
        "bound_flops_per_second": bound,
        "bound_by": "arithmetic" if bound == rates[dtype] else "memory",
        "strategies": {
            name: {
                "flops_per_second": flops / taken,
                "of_bound": flops / taken / bound,
                "of_peak": flops / taken / rates[dtype],
            }
            for name, taken in seconds.items()
        },
    }


def bytes_per_forward(model: Model, inputs: jax.Array, dtype: str) -> int:
    """What must move for one candidate, as the head of this file counts."""
    arguments = model.params, model.buffers, inputs
    values = count_values(model.apply, *arguments)
    weights = model.layout.num_weights
    activations = jnp.dtype(dtype).itemsize * (values - weights)
    return 4 * num_words(weights) + 4 * weights + activations


def _evaluation(task: Task, strategy: Strategy) -> Runner:
    arguments = task.space, task.objective, jax.random.key(0), task.genomes
    scores = jax.jit(evaluate, static_argnames="strategy")
    program = scores.lower(*arguments, strategy=strategy).compile()
    return lambda: jax.block_until_ready(program(*arguments))


def _lines(cell: dict[str, Any]) -> str:
    head = (
        f"{cell['model']} {cell['dtype']}: {cell['flops_per_byte']:.0f} operations per byte, "
        f"bound by {cell['bound_by']} to {cell['bound_flops_per_second'] / 1e9:.0f} GFLOP/s"
    )
    rows = [
        f"  {name}: {reached['flops_per_second'] / 1e9:.1f} GFLOP/s, "
        f"{reached['of_bound']:.0%} of the bound, {reached['of_peak']:.0%} of the peak"
        for name, reached in cell["strategies"].items()
    ]
    return "\n".join([head, *rows])


def _draw(axes: Any, cells: list[dict[str, Any]]) -> None:
    """The rooflines as the last cell measured them, and a column of points per cell."""
    peaks = cells[-1]["peaks"]
    places = [cell["flops_per_byte"] for cell in cells]
    ends = min(1.0, *places) / 2, max(*places, *places) * 4
    for dtype, style in zip(DTYPES, ("-", "--"), strict=True):
        peak, bandwidth = peaks[f"{dtype}_per_second"], peaks["copy_per_second"]
        corner = peak / bandwidth
        line = (ends[0], corner, max(ends[1], 2 * corner))
        heights = [min(peak, place * bandwidth) for place in line]
        axes.plot(line, heights, style, color=COLOURS[5], label=f"roofline {dtype}")
    forms = dict.fromkeys(name for cell in cells for name in cell["strategies"])
    for form, marker in zip(forms, itertools.cycle("osD^vP*X"), strict=False):
        shown = [cell for cell in cells if form in cell["strategies"]]
        rates = [cell["strategies"][form]["flops_per_second"] for cell in shown]
        axes.plot([cell["flops_per_byte"] for cell in shown], rates, marker, label=form, alpha=0.8)
    for line, cell in enumerate(cells):
        fastest = max(cell["strategies"].items(), key=lambda one: one[1]["flops_per_second"])[1]
        axes.annotate(
            f"{cell['model']}, {cell['dtype']}",
            (cell["flops_per_byte"], fastest["flops_per_second"]),
            xytext=(0.03, 0.7 - 0.06 * line),
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "linewidth": 0.5},
            size=7,
        )
    axes.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="operations/s")
    axes.legend(fontsize=7)


if __name__ == "__main__":
    main()
