"""Where does the time of one generation go?

Parts of a generation are compiled on their own and timed in turns with the whole. Three programs
map over the population as the search does and grow by one part each, so that a part is the
difference of two: decoding and masking (summed up, so that nothing is left out), the forward pass,
the objective. Choosing the best ever and the record are what a generation with a free objective
takes beyond asking and telling. What the parts do not explain is a row of its own: negative where
the compiler saves more by joining them than the rows cost.

    python benchmarks/profile_generation.py --arch cifar_resnet20 --inputs 256 --population 16

Writes a JSON file; `--trace FOLDER` also writes a trace for TensorBoard or Perfetto. `--smoke`
runs a tiny network and keeps nothing.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from documents import (
    SPARSITY,
    add_strategy,
    chosen_strategy,
    document,
    out_path,
    parser,
    spread,
    write,
)
from jax.tree_util import Partial

from jgaprune import converters
from jgaprune.bench import in_turns
from jgaprune.bench.ours import Task, make_task
from jgaprune.bench.timing import Runner
from jgaprune.engine import DTYPES, Strategy, build_search, evaluate
from jgaprune.engine.strategy import map_population
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.types import Array, Genome, Key, Masks, Score

_TRACED_GENERATIONS = 3


def main() -> None:
    """Times the parts, prints a table and writes it."""
    options = _options()
    model, strategy = converters.untrained(options.arch), chosen_strategy(options, options.dtype)
    input_key, task_key = jax.random.split(jax.random.key(0))
    inputs = jax.random.normal(input_key, (options.inputs, *model.spec.input_shape))
    task = make_task(model, inputs, options.population, SPARSITY, task_key)
    runners = {**_mapped(model, inputs, task, strategy), **_updates(task, strategy)}
    quick = 0.0 if options.smoke else 0.1
    timings = in_turns(runners, rounds=options.rounds, at_least_seconds=quick)
    seconds = {name: timing.median for name, timing in timings.items()}
    result = document(
        __doc__,
        model=model.spec.name,
        num_weights=model.layout.num_weights,
        num_inputs=options.inputs,
        population=options.population,
        strategy=str(strategy),
        generation_seconds=seconds["generation"],
        parts_seconds=parts_of(seconds),
        programs_seconds={name: spread(timing) for name, timing in timings.items()},
    )
    _report(result)
    if options.trace and not options.smoke:
        _trace(options.trace, runners["generation"])
    if not options.smoke:
        write(options.out, result)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--arch", default="paper_mnist")
    arguments.add_argument("--inputs", type=int, default=256)
    arguments.add_argument("--population", type=int, default=16)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--trace", type=Path, metavar="FOLDER")
    arguments.add_argument("--dtype", choices=DTYPES, default="float32")
    add_strategy(arguments)
    options = arguments.parse_args()
    if options.smoke:
        options.arch, options.inputs, options.population, options.rounds = "lenet5", 2, 2, 1
    options.out = out_path(options, f"profile_{options.arch}")
    return options


def parts_of(seconds: dict[str, float]) -> dict[str, float]:
    """Seconds per part of a generation, which they add up to."""
    parts = {
        "ask": seconds["ask"],
        "decode, mask": seconds["decoded"],
        "forward": seconds["forward"] - seconds["decoded"],
        "objective": seconds["evaluation"] - seconds["forward"],
        "tell": seconds["tell"],
        "record": seconds["free_generation"] - seconds["ask"] - seconds["tell"],
    }
    return {**parts, "unexplained": seconds["generation"] - sum(parts.values())}


def _report(result: dict[str, Any]) -> None:
    whole = result["generation_seconds"]
    size = f"N={result['num_inputs']}, P={result['population']}"
    print(f"{result['model']}, {size}, {result['strategy']}")
    for name, part in {**result["parts_seconds"], "generation": whole}.items():
        print(f"  {name:12} {1e3 * part:10.3f} ms {part / whole:7.1%}")


def _mapped(model: Model, inputs: Array, task: Task, strategy: Strategy) -> dict[str, Runner]:
    """Programs over the whole population, each with one more part."""

    def decoded(model: Model, task: Task, inputs: Array) -> Array:
        def one(genome: Genome) -> Array:
            masked = apply_masks(model.params, task.space.decode(genome))
            return sum((jnp.sum(leaf) for leaf in masked.values()), jnp.float32(0))

        return map_population(strategy, one, task.genomes)

    def forward(model: Model, task: Task, inputs: Array) -> Array:
        def one(genome: Genome) -> Array:
            masked = apply_masks(model.params, task.space.decode(genome))
            return model.apply(masked, model.buffers, inputs)

        return map_population(strategy, one, task.genomes)

    def evaluation(model: Model, task: Task, inputs: Array) -> Array:
        key = jax.random.key(0)
        return evaluate(task.space, task.objective, key, task.genomes, strategy)[0]

    programs = {"decoded": decoded, "forward": forward, "evaluation": evaluation}
    return {name: _runner(program, model, task, inputs) for name, program in programs.items()}


def _updates(task: Task, strategy: Strategy) -> dict[str, Runner]:
    """Proposing, selecting, and whole generations with the objective and with a free one."""
    key, fitness = jax.random.key(0), jnp.arange(len(task.genomes), dtype=jnp.float32)
    state = jax.jit(task.evolver.init)(key, task.genomes, fitness)
    genomes, asked = jax.jit(task.evolver.ask)(key, state)
    return {
        "ask": _runner(lambda evolver, *rest: evolver.ask(*rest), task.evolver, key, state),
        "tell": _runner(
            lambda evolver, *rest: evolver.tell(*rest), task.evolver, key, genomes, fitness, asked
        ),
        "generation": _generation(task, strategy),
        "free_generation": _generation(task._replace(objective=Partial(_free)), strategy),
    }


def _free(key: Key, masks: Masks) -> Score:
    """An objective that looks at nothing, so that nothing is decoded for it."""
    return Score(jnp.float32(0), jnp.float32(0), jnp.int32(0))


def _runner(program: Callable[..., Any], *arguments: Any) -> Runner:
    compiled = jax.jit(program).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def _generation(task: Task, strategy: Strategy) -> Runner:
    search = build_search(
        task.space,
        task.objective,
        task.evolver,
        population=len(task.genomes),
        seeds=task.genomes,
        strategy=strategy,
    ).compile()
    carried = [search.init(jax.random.key(0))[0]]

    def run() -> None:
        carried[0], _ = jax.block_until_ready(search.step(carried[0]))

    return run


def _trace(folder: Path, generation: Runner) -> None:
    with jax.profiler.trace(str(folder)):
        for _ in range(_TRACED_GENERATIONS):
            generation()


if __name__ == "__main__":
    main()
