"""Our evolvers as evosax algorithms, for programs that are written against evosax.

A solution is a genome of the space, in the form that `space.decode` takes: packed words stay
packed, where evosax's own algorithms would turn them into floats. evosax (Lange, "evosax:
JAX-based Evolution Strategies", arXiv:2212.04180) asks for a class; it holds no arrays, and the
evolver travels in the parameters, so that algorithms built alike share one compiled program.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based.base import (
    Params,
    PopulationBasedAlgorithm,
    State,
)
from flax import struct

from jgaprune.types import Array, Evolver, Fitness, Genome, Genomes, Key, MaskSpace


@struct.dataclass
class EvolverParams(Params):
    """evosax's name for the settings: here, the evolver itself."""

    evolver: Evolver


@struct.dataclass
class EvolverAlgorithmState(State):
    """evosax's fields, with `population` the genomes that were evaluated last, and the evolver's.

    Attributes:
      evolver: the state of our evolver.
    """

    evolver: Any


class EvolverAlgorithm(PopulationBasedAlgorithm):
    """An evolver behind evosax's interface; made by `to_evosax`."""

    def __init__(self, population_size: int, solution: Genome, evolver: Evolver):
        """Keeps the evolver for `default_params`."""
        super().__init__(population_size, solution, metrics_fn=_scalar_metrics)
        self.evolver = evolver

    def __eq__(self, other: object) -> bool:
        """Whether both compile to the same program; the evolver is an argument of it."""
        return isinstance(other, EvolverAlgorithm) and self._form() == other._form()

    def __hash__(self) -> int:
        return hash(self._form())

    @property
    def _default_params(self) -> EvolverParams:
        return EvolverParams(evolver=self.evolver)

    @partial(jax.jit, static_argnames=("self",))
    def init(
        self, key: Key, population: Genomes, fitness: Fitness, params: EvolverParams
    ) -> EvolverAlgorithmState:
        """Starts from an evaluated population."""
        fitness = _without_nan(fitness)
        flat = jax.vmap(self._ravel_solution)(population)
        best = jnp.argmin(fitness)
        return EvolverAlgorithmState(
            best_solution=flat[best],
            best_fitness=fitness[best],
            generation_counter=jnp.int32(0),
            population=flat,
            fitness=fitness,
            evolver=params.evolver.init(key, population, fitness),
        )

    def get_best_solution(self, state: EvolverAlgorithmState) -> Genome:
        """The best genome ever seen."""
        return self._unravel_solution(state.best_solution)

    def _ask(
        self, key: Key, state: EvolverAlgorithmState, params: EvolverParams
    ) -> tuple[Array, EvolverAlgorithmState]:
        genomes, evolver = params.evolver.ask(key, state.evolver)
        return jax.vmap(self._ravel_solution)(genomes), state.replace(evolver=evolver)

    def _tell(
        self,
        key: Key,
        population: Array,
        fitness: Fitness,
        state: EvolverAlgorithmState,
        params: EvolverParams,
    ) -> EvolverAlgorithmState:
        fitness = _without_nan(fitness)
        genomes = jax.vmap(self._unravel_solution)(population)
        evolver = params.evolver.tell(key, genomes, fitness, state.evolver)
        return state.replace(population=population, fitness=fitness, evolver=evolver)

    def _form(self) -> tuple[Any, ...]:
        leaves, tree = jax.tree.flatten(self.solution)
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        return self.population_size, tree, shapes, self.metrics_fn, self.fitness_shaping_fn


def to_evosax(
    space: MaskSpace, build: Callable[..., Evolver], *, population: int
) -> PopulationBasedAlgorithm:
    """An evolver as a population-based evosax algorithm whose solutions are genomes.

    Args:
      space: what the genomes mean.
      build: `space, population=... -> evolver`, such as `genetic`.
      population: candidates per generation.

    Returns:
      an algorithm for `init(key, population, fitness, params)`, `ask` and `tell`, with
      `params = algorithm.default_params`; its metrics are scalars.

    Raises:
      ValueError: the evolver does not evaluate `population` candidates in every generation.
    """
    evolver = build(space, population=population)
    genome = jax.eval_shape(space.sample, jax.random.key(0))
    proposed = jax.eval_shape(partial(_proposed, evolver, space, population))
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(proposed)}
    if evolver.restage is not None or sizes != {population}:
        raise ValueError(
            f"evosax needs {population} candidates in every generation, but this evolver "
            f"proposes {sorted(sizes)}, or changes their number. Use `genetic`."
        )
    solution = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), genome)
    return EvolverAlgorithm(population, solution, evolver)


def _proposed(evolver: Evolver, space: MaskSpace, population: int) -> Genomes:
    key = jax.random.key(0)
    genomes = jax.vmap(space.sample)(jax.random.split(key, population))
    state = evolver.init(key, genomes, jnp.zeros(population))
    return evolver.ask(key, state)[0]


def _without_nan(fitness: Fitness) -> Fitness:
    return jnp.where(jnp.isnan(fitness), jnp.inf, fitness)


def _scalar_metrics(
    key: Key, population: Array, fitness: Fitness, state: Any, params: Any
) -> dict[str, Array]:
    """evosax's default metrics hold whole solutions, which a scan would stack."""
    return {
        "generation_counter": state.generation_counter,
        "best_fitness_in_generation": jnp.min(_without_nan(fitness)),
        "best_fitness": state.best_fitness,
    }
