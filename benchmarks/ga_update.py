"""What does proposing and selecting cost: packed masks beside real scores in evosax and the paper?

Updates of a population (ask, tell) with given fitness, several in one device program as in a
search: packed genomes under the default evolver, evosax's SimpleGA on one float32 score per weight,
and the paper's operators on such scores in NumPy (two children per pair). "Traffic alone" reads two
whole parents and writes one child per candidate, and does nothing else.

    python benchmarks/ga_update.py --genes 1000000 10000000 --populations 64

`--smoke` runs a tiny case and keeps nothing.
"""

import argparse
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from documents import document, out_path, parser, spread, write
from evosax.algorithms import SimpleGA

from jgaprune.bench import in_turns
from jgaprune.bench.timing import Runner
from jgaprune.bench.update import repeated_runner, traffic_runner, update_runner
from jgaprune.evolvers import genetic
from jgaprune.masks import Layout, num_words
from jgaprune.spaces import weights
from jgaprune.types import Evolver

RATE = 0.01
_GENES_PER_RUN = 300_000_000
"""Genes that the updates of one program work on, all in all."""
_MOST_FLOAT_BYTES = 2**31
"""Populations of float scores beyond this are left out: SimpleGA needs several copies."""


def main() -> None:
    """Runs every case and writes one JSON file after each."""
    options = _options()
    cells: list[dict[str, Any]] = []
    grid = itertools.product(options.genes, options.populations, options.sparsities)
    for num_genes, population, sparsity in grid:
        cells.append(_cell(num_genes, population, sparsity, options))
        print(_line(cells[-1]), flush=True)
        if not options.smoke:
            write(options.out, document(__doc__, cells=cells))


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--genes", nargs="+", type=int, default=[270_000, 1_200_000, 10_000_000])
    arguments.add_argument("--populations", nargs="+", type=int, default=[8, 64])
    arguments.add_argument("--sparsities", nargs="+", type=float, default=[0.5])
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    if options.smoke:
        options.genes, options.populations, options.rounds = [1000], [4], 1
    options.out = out_path(options, "ga_update")
    return options


def _cell(
    num_genes: int, population: int, sparsity: float, options: argparse.Namespace
) -> dict[str, Any]:
    updates = 1 if options.smoke else max(1, _GENES_PER_RUN // (num_genes * population))
    key, genomes, evolver = jax.random.key(0), *_packed(num_genes, population, sparsity)
    runners = {
        "packed": update_runner(evolver, genomes, key, updates),
        "traffic_alone": traffic_runner(genomes, key, updates),
    }
    if 4 * num_genes * population <= _MOST_FLOAT_BYTES:
        runners["evosax_simple_ga"] = _simple_ga(num_genes, population, key, updates)
    runners["paper_operators"] = _paper_pair(num_genes)
    least_seconds = 0.0 if options.smoke else 0.1
    timings = in_turns(runners, rounds=options.rounds, at_least_seconds=least_seconds)
    scales = {name: 1 / updates for name in runners} | {"paper_operators": population / 2}
    seconds = {name: spread(timing, scales[name]) for name, timing in timings.items()}
    traffic = 3 * 4 * num_words(num_genes) * population
    return {
        "num_genes": num_genes,
        "population": population,
        "sparsity": sparsity,
        "updates_per_program": updates,
        "seconds": seconds,
        "bytes": traffic,
        "bytes_per_second": traffic / seconds["packed"]["median"],
        "over_traffic_alone": seconds["packed"]["median"] / seconds["traffic_alone"]["median"],
    }


def _packed(num_genes: int, population: int, sparsity: float) -> tuple[jax.Array, Evolver]:
    """A population of different masks, and the default evolver."""
    key = jax.random.key(1)
    layout = Layout(("w",), ((num_genes,),))
    space = weights({"w": jnp.ones(num_genes)}, layout, sparsity)
    first = jax.jit(space.sample)(key)
    mutate = jax.jit(jax.vmap(space.mutate, in_axes=(0, None, None)))
    genomes = mutate(jax.random.split(key, population), first, jnp.float32(1.0))
    return genomes, genetic(space, population=population)


def _simple_ga(num_genes: int, population: int, key: jax.Array, updates: int) -> Runner:
    algorithm = SimpleGA(population_size=population, solution=jnp.zeros(num_genes))
    settings = algorithm.default_params
    fitness = jnp.arange(population, dtype=jnp.float32)
    genomes = jax.random.normal(key, (population, num_genes))
    state = jax.jit(algorithm.init)(key, genomes, fitness, settings)

    def update(fixed, key, state):
        settings, fitness = fixed
        ask_key, tell_key, fitness_key = jax.random.split(key, 3)
        fitness = jax.random.permutation(fitness_key, fitness)
        solutions, state = algorithm.ask(ask_key, state, settings)
        return algorithm.tell(tell_key, solutions, fitness, state, settings)[0]

    return repeated_runner(update, (settings, fitness), key, state, updates)


def _paper_pair(num_genes: int) -> Runner:
    """One cut, two children, each gene replaced with a probability."""
    random = np.random.default_rng(0)
    first, second = random.uniform(-1, 1, (2, num_genes)).astype(np.float32)

    def mutated(child: np.ndarray) -> np.ndarray:
        chosen = random.uniform(size=num_genes) < RATE
        child[chosen] = random.uniform(-1, 1, num_genes)[chosen]
        return child

    def run() -> list[np.ndarray]:
        cut = random.integers(0, num_genes + 1)
        pairs = ((first, second), (second, first))
        return [mutated(np.concatenate([two[:cut], one[cut:]])) for one, two in pairs]

    return run


def _line(cell: dict[str, Any]) -> str:
    speeds = ", ".join(
        f"{name} {1e3 * seconds['median']:.2f} ms" for name, seconds in cell["seconds"].items()
    )
    return (
        f"{cell['num_genes']} genes x {cell['population']}: {speeds}; "
        f"packed {cell['over_traffic_alone']:.1f} times the traffic alone"
    )


if __name__ == "__main__":
    main()
