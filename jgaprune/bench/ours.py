"""What jgaprune does in one generation, in parts that can be timed."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.bench.timing import Runner
from jgaprune.bench.update import update_runner
from jgaprune.engine import Search, Strategy, build_search, evaluate
from jgaprune.evolvers import genetic
from jgaprune.model import Model
from jgaprune.objectives import agreement
from jgaprune.spaces import weights
from jgaprune.types import Array, Evolver, Fitness, Genomes, Key, MaskSpace, Objective


class Task(NamedTuple):
    """A population of packed masks to be compared with the dense model, and an evolver.

    Attributes:
      space: of packed masks.
      objective: share of decisions that differ from the dense model's; no repair.
      evolver: the default one.
      genomes: `uint32 [P, W]`.
    """

    space: MaskSpace
    objective: Objective
    evolver: Evolver
    genomes: Genomes


class Compiled(NamedTuple):
    """Runners of compiled programs.

    Attributes:
      generation: one generation of the search: propose, decode, mask, forward, score, select.
      evaluation: the forward passes and scores of one population.
      update: proposing and selecting alone.
      fitness: `float32 [P]` of the population.
      peak_memory_bytes: arguments, results and temporary memory of `evaluation`; None where
        the backend does not tell.
      compile_seconds: for the search's two programs, generation 0 and those after it; little
        where JAX has them in its cache.
    """

    generation: Runner
    evaluation: Runner
    update: Runner
    fitness: Fitness
    peak_memory_bytes: int | None
    compile_seconds: float


def make_task(model: Model, inputs: Array, population: int, sparsity: float, key: Key) -> Task:
    """Random masks of one sparsity, for a model and inputs `[N, ...]`."""
    layout = model.layout
    shapes = zip(layout.names, layout.shapes, strict=True)
    space = weights({name: jnp.ones(shape) for name, shape in shapes}, layout, sparsity)
    genomes = jax.jit(jax.vmap(space.sample))(jax.random.split(key, population))
    evolver = genetic(space, population=population)
    return Task(space, agreement(model, inputs=inputs), evolver, genomes)


def compile_task(task: Task, strategy: Strategy, key: Key) -> Compiled:
    """Compiles the search and its parts; nothing of this is timed but the compilation."""
    started = time.perf_counter()
    search = _search(task, strategy).compile(key)
    compile_seconds = time.perf_counter() - started
    scores = jax.jit(evaluate, static_argnames="strategy")
    arguments = task.space, task.objective, key, task.genomes
    evaluation = scores.lower(*arguments, strategy=strategy).compile()
    fitness, _ = evaluation(*arguments)
    memory = evaluation.memory_analysis()
    return Compiled(
        _generation(search, key),
        lambda: jax.block_until_ready(evaluation(*arguments)),
        update_runner(task.evolver, task.genomes, key),
        fitness,
        None if memory is None else _total_bytes(memory),
        compile_seconds,
    )


def _total_bytes(memory: Any) -> int:
    sizes = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
    return sum(sizes)


def _search(task: Task, strategy: Strategy) -> Search:
    return build_search(
        task.space,
        task.objective,
        task.evolver,
        population=task.genomes.shape[0],
        seeds=task.genomes,
        strategy=strategy,
    )


def _generation(search: Search, key: Key) -> Runner:
    carried = [search.init(key)[0]]

    def run() -> None:
        carried[0], _ = jax.block_until_ready(search.step(carried[0]))

    return run
