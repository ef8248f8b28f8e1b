"""How many masks of how many weights fit into one device, and does what was planned hold?

Networks of four square layers. The memory of a search is read off its compiled programs for ever
better guesses of the largest population; that search is then run for two generations.
`bytes_planned` is what its programs say, `bytes_peak` what the device counted while they ran,
`seconds` of the second generation. Each network is a process of its own.

    python benchmarks/capacity.py --weights 1e5 1e6 1e7 1e8 1e9 --inputs 64

A CPU counts nothing, and has the memory of the machine unless `--memory-limit` says less. `--smoke`
runs a tiny network in 4 MiB.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from documents import SPARSITY, document, out_path, parser, write

from jgaprune import Model, Strategy, build_search, evolvers, objectives, spaces
from jgaprune.driver.plan import Plan
from jgaprune.driver.room import bytes_of_genomes
from jgaprune.engine import Search, in_words, memory_limit, most_of, usual_strategy
from jgaprune.saliency import magnitude

_LAYERS = 4
_COPIES = 2.5
"""Of every packed mask, roughly: members, children, and what is made from them."""
_MOST_AT_ONCE = 64
"""Masks in one pass: more are not faster."""
_SHARE = 0.95
"""Of what is left of a device: neighbours in memory leave gaps."""


def main() -> None:
    """Runs every network in a process, and writes one JSON file after each."""
    options = _options()
    if options.network:
        print(json.dumps(_largest(int(options.network), options)))
        return
    cells: list[dict[str, Any]] = []
    for weights in options.weights:
        cells.append(_in_a_process(weights, options))
        print(_line(cells[-1]), flush=True)
        if not options.smoke:
            write(options.out, document(__doc__, inputs=options.inputs, cells=cells))


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--weights", type=float, nargs="+", default=[1e5, 1e6, 1e7, 1e8])
    made.add_argument("--inputs", type=int, default=64)
    made.add_argument("--memory-limit", type=float, help="bytes")
    made.add_argument("--network", type=float, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.smoke:
        options.weights, options.inputs, options.memory_limit = [1e3], 4, 2**22
    options.out = out_path(options, "capacity")
    return options


def _in_a_process(weights: float, options: argparse.Namespace) -> dict[str, Any]:
    """Of one network; a device counts its peak from the beginning of a process."""
    command = [sys.executable, str(Path(__file__)), f"--network={weights}"]
    command += [f"--inputs={options.inputs}"]
    command += [f"--memory-limit={options.memory_limit}"] if options.memory_limit else []
    environment = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95", **os.environ}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"weights": int(weights), "error": f"ended with {done.returncode}"}
    return json.loads(done.stdout)


def _largest(weights: int, options: argparse.Namespace) -> dict[str, Any]:
    """The largest population of a network that fits, and how it ran."""
    limit = int(options.memory_limit or memory_limit() or 2**30)
    model = _network(weights)
    build = _builder(model, options.inputs)
    guess = max(4, int(limit / _COPIES / (model.layout.num_weights / 8)))
    search, strategy, plan = build(_population_for(_SHARE * limit, build, guess))
    need, seconds = most_of(search.programs), _run(search)
    stats = jax.local_devices()[0].memory_stats() or {}
    return {
        "weights": model.layout.num_weights,
        "population": plan.places,
        "strategy": str(strategy),
        "genomes": bytes_of_genomes(plan),
        "limit": limit,
        "bytes_planned": need.total,
        "bytes_peak": stats.get("peak_bytes_in_use"),
        "seconds": seconds,
    }


def _population_for(room: float, build: Any, guess: int) -> int:
    """The largest that fits, to a twentieth, between ever nearer bounds."""

    def fits(population: int) -> bool:
        return most_of(build(population)[0].programs).total <= room

    low = high = guess
    while fits(high):
        low, high = high, 2 * high
    while low == high or (low > 2 and not fits(low)):
        low, high = low // 2, low
    while high > 1.05 * low + 1:
        middle = math.isqrt(low * high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _network(weights: int) -> Model:
    width = math.isqrt(weights // _LAYERS)
    shapes = {f"layer{index}": (width, width) for index in range(_LAYERS)}
    params = {
        name: jax.random.normal(jax.random.fold_in(jax.random.key(0), index), shape) / width**0.5
        for index, (name, shape) in enumerate(shapes.items())
    }

    def forward(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
        for name in shapes:
            inputs = jnp.tanh(inputs @ params[name])
        return inputs[:, :10]

    return Model.from_fn(forward, params, (width,))


def _builder(model: Model, num_inputs: int) -> Any:
    """`population -> search, strategy, plan`, compiled: packed masks under the default evolver."""
    inputs = jax.random.normal(jax.random.key(1), (num_inputs, *model.spec.input_shape))
    space = spaces.weights(magnitude(model.params, model.layout, SPARSITY), model.layout, SPARSITY)
    objective = objectives.output_distance(model, inputs=inputs)

    def build(population: int) -> tuple[Search, Strategy, Plan]:
        evolver = evolvers.genetic(space, population=population)
        strategy = usual_strategy(space, objective, min(population, _MOST_AT_ONCE))
        search = build_search(space, objective, evolver, population=population, strategy=strategy)
        return search.compile(), strategy, Plan(space, evolver, population)

    return build


def _run(search: Search) -> float:
    """Generation 0 and two more; seconds of the last."""
    state, _ = search.init(jax.random.key(0))
    state, _ = search.run(state, 1)
    jax.block_until_ready(state)
    started = time.perf_counter()
    jax.block_until_ready(search.run(state, 1))
    return time.perf_counter() - started


def _line(cell: dict[str, Any]) -> str:
    if "error" in cell:
        return f"{cell['weights']} weights: {cell['error']}"
    peak = "not counted" if cell["bytes_peak"] is None else in_words(cell["bytes_peak"])
    return (
        f"{cell['weights']} weights: {cell['population']} masks ({in_words(cell['genomes'])}), "
        f"{cell['strategy']}; planned {in_words(cell['bytes_planned'])} of "
        f"{in_words(cell['limit'])}, peak {peak}; {cell['seconds']:.3g} s a generation"
    )


if __name__ == "__main__":
    main()
