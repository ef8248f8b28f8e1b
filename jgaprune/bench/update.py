"""Updates of a population alone, and the traffic of reading parents and writing children."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.bench.timing import Runner
from jgaprune.evolvers.genetic import GeneticState
from jgaprune.types import Array, Evolver, Fitness, Genomes, Key


def update_runner(evolver: Evolver, genomes: Genomes, key: Key, updates: int = 1) -> Runner:
    """Proposing and selecting with `genetic`, while a quarter of the children survive.

    Args:
      evolver: a `genetic` one.
      genomes: packed, `uint32 [P, W]`.
      key: of every proposal.
      updates: how many one run makes, in one device program as a search does.
    """
    parents = jnp.arange(genomes.shape[0], dtype=jnp.float32)

    def update(fixed: tuple[Evolver, Fitness], key: Key, state: GeneticState) -> GeneticState:
        evolver, parents = fixed
        ask_key, tell_key, fitness_key = jax.random.split(key, 3)
        parents = jax.random.permutation(fitness_key, parents)
        proposed, state = evolver.ask(ask_key, state._replace(fitness=parents))
        return evolver.tell(tell_key, proposed, parents + len(parents) / 2, state)

    state = jax.jit(evolver.init)(key, genomes, parents)
    return repeated_runner(update, (evolver, parents), key, state, updates)


def traffic_runner(genomes: Genomes, key: Key, updates: int = 1) -> Runner:
    """For every child two whole parents read and a whole genome written, and nothing else."""

    def update(_: None, key: Key, genomes: Genomes) -> Genomes:
        first, second = jax.random.randint(key, (2, genomes.shape[0]), 0, genomes.shape[0])
        return genomes[first] ^ genomes[second]

    return repeated_runner(update, None, key, genomes, updates)


def repeated_runner(
    update: Callable[[Any, Key, Any], Any], fixed: Any, key: Key, state: Any, updates: int
) -> Runner:
    """Runs `fixed, key, state -> state` several times in one device program.

    A search runs many generations in one, so its memory is in use already after the first.
    """

    def several(fixed: Any, key: Key, state: Any) -> Any:
        def once(index: Array, state: Any) -> Any:
            return update(fixed, jax.random.fold_in(key, index), state)

        return jax.lax.fori_loop(0, updates, once, state)

    program = jax.jit(several, donate_argnums=2).lower(fixed, key, state).compile()
    carried = [jax.tree.map(jnp.copy, state)]

    def run() -> None:
        carried[0] = jax.block_until_ready(program(fixed, key, carried[0]))

    return run
