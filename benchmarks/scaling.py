"""Does the cost of a search grow linearly in P, N and generations, with memory constant in P?

One strategy, one network and packed masks. Three sweeps, each with the other two fixed: seconds of
a generation over the population and over the inputs, seconds of a run over its generations. Each
gets a straight line (slope, intercept, R^2) and the exponent of a power law. The memory of the
compiled generation is fitted over the population, too: its slope in packed masks says how many
copies of the population there are, and how little of it a population of masked weights would be.

    python benchmarks/scaling.py --arch paper_mnist --populations 8 16 32 64

Writes a JSON file and a picture beside it. `--smoke` runs a tiny network and keeps nothing.
"""

import argparse
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from documents import (
    COLOURS,
    SPARSITY,
    add_strategy,
    chosen_strategy,
    document,
    out_path,
    parser,
    picture,
    spread,
    write,
)

from jgaprune import converters
from jgaprune.bench import in_turns
from jgaprune.bench.ours import Task, make_task
from jgaprune.bench.timing import Runner
from jgaprune.engine import DTYPES, SearchState, Strategy, build_search
from jgaprune.engine.state import Best
from jgaprune.masks import num_words
from jgaprune.model import Model


class Program(NamedTuple):
    """A compiled generation.

    Attributes:
      run: one generation.
      memory: bytes by kind, from the compiler; None where the backend does not tell.
    """

    run: Runner
    memory: dict[str, int] | None


def main() -> None:
    """Runs the three sweeps, one after another, and prints the fits."""
    options = _options()
    model, strategy = converters.untrained(options.arch), chosen_strategy(options, options.dtype)
    by_population = {
        size: _generation(_task(model, options.num_inputs, size), strategy)
        for size in options.populations
    }
    by_inputs = {
        count: _generation(_task(model, count, options.population), strategy)
        for count in options.inputs
    }
    by_generations = _runs(_task(model, options.num_inputs, options.population), strategy, options)
    result = document(
        __doc__,
        model=model.spec.name,
        num_weights=model.layout.num_weights,
        strategy=str(strategy),
        fixed={"population": options.population, "num_inputs": options.num_inputs},
        rounds=options.rounds,
        sweeps={
            "population": _sweep({n: p.run for n, p in by_population.items()}, options),
            "inputs": _sweep({n: p.run for n, p in by_inputs.items()}, options),
            "generations": _sweep(by_generations, options),
        },
        memory=_memory(model, by_population),
    )
    _report(result)
    if not options.smoke:
        write(options.out, result)
        with picture(options.out, 15, 3.6, 4) as axes:
            _draw(axes, result)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--arch", default="paper_mnist")
    arguments.add_argument("--populations", nargs="+", type=int, default=[4, 8, 16, 32, 64])
    arguments.add_argument("--inputs", nargs="+", type=int, default=[32, 64, 128, 256, 512])
    arguments.add_argument("--generations", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    arguments.add_argument("--population", type=int, default=8, help="in the other sweeps")
    arguments.add_argument("--num-inputs", type=int, default=64, help="in the other sweeps")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--dtype", choices=DTYPES, default="float32")
    add_strategy(arguments)
    options = arguments.parse_args()
    if options.smoke:
        options.arch, options.rounds = "mlp", 1
        options.populations, options.inputs, options.generations = [2, 4], [2, 4], [1, 2]
        options.population, options.num_inputs = 2, 2
    options.out = out_path(options, f"scaling_{options.arch}")
    return options


def _task(model: Model, num_inputs: int, population: int) -> Task:
    input_key, task_key = jax.random.split(jax.random.key(0))
    inputs = jax.random.normal(input_key, (num_inputs, *model.spec.input_shape))
    return make_task(model, inputs, population, SPARSITY, task_key)


def _generation(task: Task, strategy: Strategy) -> Program:
    """The search's generation, compiled as one program whose memory the compiler tells."""
    bundles, size = (task.space, task.objective, task.evolver), len(task.genomes)

    def generation(bundles: Any, state: SearchState) -> Any:
        space, *others = bundles
        space = space._replace(mutation_cost=task.space.mutation_cost)  # counted, so not traced
        return build_search(space, *others, population=size, strategy=strategy).step(state)

    carried = [_state(task)]
    lowered = jax.jit(generation, donate_argnames="state").lower(bundles, carried[0])
    program = lowered.compile()

    def run() -> None:
        carried[0], _ = jax.block_until_ready(program(bundles, carried[0]))

    return Program(run, _bytes(program.memory_analysis()))


def _runs(task: Task, strategy: Strategy, options: argparse.Namespace) -> dict[int, Runner]:
    """Runs of so many generations, all of one compiled search."""
    bundles = task.space, task.objective, task.evolver
    search = build_search(*bundles, population=len(task.genomes), strategy=strategy).compile()
    carried = [_state(task)]

    def run(generations: int) -> None:
        carried[0], _ = jax.block_until_ready(search.run(carried[0], generations))

    return {count: lambda count=count: run(count) for count in options.generations}


def _state(task: Task) -> SearchState:
    """A search's state with made-up fitness: no generation 0 has to be evaluated for it."""
    size = len(task.genomes)
    evolver = task.evolver.init(jax.random.key(0), task.genomes, jnp.arange(size) / size)
    best = Best(task.genomes[0], jnp.float32(jnp.inf))
    return SearchState(jax.random.key(0), evolver, best, jnp.int32(size), jnp.int32(0))


def _bytes(memory: Any) -> dict[str, int] | None:
    if memory is None:
        return None
    kinds = ("argument", "output", "temp", "alias")
    sizes = {kind: int(getattr(memory, f"{kind}_size_in_bytes")) for kind in kinds}
    total = sizes["argument"] + sizes["output"] + sizes["temp"] - sizes["alias"]
    return {**sizes, "total": total}


def _sweep(runners: dict[int, Runner], options: argparse.Namespace) -> dict[str, Any]:
    quick = 0.0 if options.smoke else 0.1
    named = {str(value): runner for value, runner in runners.items()}
    timings = in_turns(named, rounds=options.rounds, at_least_seconds=quick)
    seconds = [timings[name].median for name in named]
    return {
        "values": list(runners),
        "seconds": [spread(timings[name]) for name in named],
        **fits(list(runners), seconds),
    }


def fits(values: list[int], measured: list[float]) -> dict[str, float]:
    """A straight line through all points, and the exponent of `measured ~ values ** exponent`."""
    slope, intercept = np.polyfit(values, measured, 1)
    residual = np.asarray(measured) - (slope * np.asarray(values) + intercept)
    variance = float(np.var(measured))
    exponent, _ = np.polyfit(np.log(values), np.log(measured), 1)
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "r_squared": 1.0 - float(np.var(residual)) / variance if variance else 1.0,
        "exponent": float(exponent),
    }


def _memory(model: Model, programs: dict[int, Program]) -> dict[str, Any] | None:
    """Bytes of the compiled generation over the population, beside what a mask takes."""
    known = {size: p.memory for size, p in programs.items() if p.memory is not None}
    if len(known) < 2:
        return None
    fitted = {
        kind: fits(list(known), [max(bytes_[kind], 1) for bytes_ in known.values()])
        for kind in ("argument", "temp", "total")
    }
    packed = 4 * num_words(model.layout.num_weights)
    return {
        "values": list(known),
        "bytes": list(known.values()),
        "fits": fitted,
        "packed_mask_bytes": packed,
        "masked_weights_bytes": 4 * model.layout.num_weights,
        "packed_masks_per_candidate": fitted["total"]["slope"] / packed,
    }


def _report(result: dict[str, Any]) -> None:
    print(f"{result['model']}, {result['strategy']}")
    for name, sweep in result["sweeps"].items():
        print(
            f"{name}: {1e3 * sweep['slope']:.3f} ms each + {1e3 * sweep['intercept']:.2f} ms, "
            f"R^2 {sweep['r_squared']:.4f}, exponent {sweep['exponent']:.3f}"
        )
    if memory := result["memory"]:
        print(
            f"memory: {memory['fits']['total']['intercept'] / 2**20:.1f} MiB, and "
            f"{memory['packed_masks_per_candidate']:.2f} packed masks per candidate "
            f"(of {memory['packed_mask_bytes']} bytes; masked weights: "
            f"{memory['masked_weights_bytes']})"
        )


def _draw(axes: Any, result: dict[str, Any]) -> None:
    for panel, (name, sweep) in zip(axes, result["sweeps"].items(), strict=False):
        medians = [seconds["median"] for seconds in sweep["seconds"]]
        panel.plot(sweep["values"], medians, "o", color=COLOURS[0])
        panel.axline((0, sweep["intercept"]), slope=sweep["slope"], color=COLOURS[1], linewidth=1)
        panel.set(xlabel=name, ylabel="seconds", xlim=(0, None), ylim=(0, None))
        panel.set_title(f"R² {sweep['r_squared']:.4f}, exponent {sweep['exponent']:.2f}")
    if memory := result["memory"]:
        totals = [sizes["total"] / 2**20 for sizes in memory["bytes"]]
        weights = memory["masked_weights_bytes"] / 2**20
        axes[3].plot(memory["values"], totals, "o-", color=COLOURS[0], label="the whole program")
        grown = [totals[0] + weights * (size - memory["values"][0]) for size in memory["values"]]
        axes[3].plot(
            memory["values"], grown, "--", color=COLOURS[1], label="with a float per weight instead"
        )
        axes[3].set(xlabel="population", ylabel="MiB", ylim=(0, None))
        axes[3].legend()


if __name__ == "__main__":
    main()
