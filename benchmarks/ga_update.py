"""What does proposing and selecting cost: packed masks beside real scores in evosax and the paper?

One update of a population (ask, tell, the best ever) with given fitness: packed genomes under the
default evolver, evosax's SimpleGA on one float32 score per weight, and the paper's operators on
such scores in NumPy (two children per pair). Bytes are compared with the least an update has to
move, two parents read and one child written per candidate, at the speed of a large copy.

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

from jgaprune.bench import Timing, in_turns, peak_copy
from jgaprune.bench.ours import update_runner
from jgaprune.bench.timing import Runner
from jgaprune.evolvers import genetic
from jgaprune.masks import Layout, num_words
from jgaprune.spaces import weights

SPARSITY = 0.5
RATE = 0.01
_MOST_FLOAT_BYTES = 2**31
"""Populations of float scores beyond this are left out: SimpleGA needs several copies."""


def main() -> None:
    """Runs every case and writes one JSON file after each."""
    options = _options()
    cells: list[dict[str, Any]] = []
    for num_genes, population in itertools.product(options.genes, options.populations):
        cells.append(_cell(num_genes, population, options.rounds, options.smoke))
        print(_line(cells[-1]), flush=True)
        if not options.smoke:
            write(options.out, document(__doc__, cells=cells))


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--genes", nargs="+", type=int, default=[270_000, 1_200_000, 10_000_000])
    arguments.add_argument("--populations", nargs="+", type=int, default=[8, 64])
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    if options.smoke:
        options.genes, options.populations, options.rounds = [1000], [4], 1
    options.out = out_path(options, "ga_update")
    return options


def _cell(num_genes: int, population: int, rounds: int, smoke: bool) -> dict[str, Any]:
    key = jax.random.key(0)
    copy, copied = peak_copy(2**10) if smoke else peak_copy()
    runners = {"packed": _packed(num_genes, population, key), "copy": copy}
    if 4 * num_genes * population <= _MOST_FLOAT_BYTES:
        runners["evosax_simple_ga"] = _simple_ga(num_genes, population, key)
    runners["paper_operators"] = _paper_pair(num_genes)
    timings = in_turns(runners, rounds=rounds, at_least_seconds=0.0 if smoke else 0.1)
    least = 3 * 4 * num_words(num_genes) * population
    bytes_per_second = copied / timings["copy"].median
    return {
        "num_genes": num_genes,
        "population": population,
        "seconds": {name: _spread(name, timing, population) for name, timing in timings.items()},
        "least_bytes": least,
        "copy_bytes_per_second": bytes_per_second,
        "over_the_least": timings["packed"].median * bytes_per_second / least,
    }


def _packed(num_genes: int, population: int, key: jax.Array) -> Runner:
    layout = Layout(("w",), ((num_genes,),))
    space = weights({"w": jnp.ones(num_genes)}, layout, SPARSITY)
    evolver = genetic(space, population=population)
    words = (population, num_words(num_genes))
    first = jax.jit(space.sample)(key)
    genomes = jnp.broadcast_to(first, words)
    genomes = jax.jit(jax.vmap(space.mutate))(
        jax.random.split(key, population), genomes, jnp.ones(population)
    )
    return update_runner(evolver, genomes, key)


def _simple_ga(num_genes: int, population: int, key: jax.Array) -> Runner:
    algorithm = SimpleGA(population_size=population, solution=jnp.zeros(num_genes))
    settings = algorithm.default_params
    fitness = jnp.arange(population, dtype=jnp.float32)
    genomes = jax.random.normal(key, (population, num_genes))
    carried = [jax.jit(algorithm.init)(key, genomes, fitness, settings)]

    def update(key, state, settings, fitness):
        solutions, state = algorithm.ask(key, state, settings)
        return algorithm.tell(key, solutions, fitness, state, settings)[0]

    program = jax.jit(update, donate_argnums=1).lower(key, carried[0], settings, fitness).compile()

    def run() -> None:
        carried[0] = jax.block_until_ready(program(key, carried[0], settings, fitness))

    return run


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


def _spread(name: str, timing: Timing, population: int) -> dict[str, float]:
    """Quartiles for a whole population; the paper's operators were timed for one pair."""
    scale = population / 2 if name == "paper_operators" else 1
    return spread(timing, scale)


def _line(cell: dict[str, Any]) -> str:
    speeds = ", ".join(
        f"{name} {1e3 * seconds['median']:.2f} ms"
        for name, seconds in cell["seconds"].items()
        if name != "copy"
    )
    return (
        f"{cell['num_genes']} genes x {cell['population']}: {speeds}; "
        f"packed {cell['over_the_least']:.1f} times the least"
    )


if __name__ == "__main__":
    main()
