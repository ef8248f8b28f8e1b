"""One generation of one population: ask, evaluate, tell, and keep the best.

Everything here is traced; programs that run many generations are made in `search`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jgaprune.engine.evaluate import evaluate, race
from jgaprune.engine.record import better, record_of
from jgaprune.engine.screen import ROUNDING, Screens, evaluations
from jgaprune.engine.seeds import Seeds, planted
from jgaprune.engine.state import Best, Record, SearchState
from jgaprune.engine.strategy import Strategy
from jgaprune.ops import make_rows
from jgaprune.types import Evolver, Genomes, Key, MaskSpace, Objective


@jax.tree_util.register_static
@dataclass(frozen=True)
class Mutation:
    """What one costs, in evaluations: a number that programs know, and no input of theirs."""

    cost: float


class Parts(NamedTuple):
    """What a compiled generation is made of; a pytree."""

    space: MaskSpace
    objective: Objective
    evolver: Evolver
    screens: Screens
    mutation: Mutation


def first_generation(
    parts: Parts,
    seeds: Seeds | None,
    key: Key,
    population: int,
    strategy: Strategy,
    mesh: Mesh | None = None,
) -> tuple[SearchState, Record]:
    """Samples and evaluates generation 0, with seeds in its first places.

    Args:
      parts: of the search.
      seeds: genomes of the caller; None for none.
      key: of the search.
      population: size of generation 0, `P`.
      strategy: how a population is evaluated.
      mesh: whose devices share the evaluations; inside of `on_mesh` only.
    """
    key, sample_key, score_key, evolver_key = jax.random.split(key, 4)
    genomes = make_rows(parts.space.sample, jax.random.split(sample_key, population))
    if seeds is not None:
        genomes = planted(genomes, seeds)
    task = parts.space, parts.objective, score_key, genomes, strategy
    fitness, scores = evaluate(*task, mesh)
    nowhere = Best(jax.tree.map(lambda leaf: leaf[0], genomes), jnp.float32(jnp.inf))
    best = better(nowhere, genomes, fitness)
    state = parts.evolver.init(evolver_key, genomes, fitness)
    failures = jnp.sum(jnp.isnan(scores.fitness), dtype=jnp.int32)
    state = SearchState(key, state, best, jnp.int32(population), failures)
    return state, record_of(state, genomes, fitness)


def next_generation(
    parts: Parts, state: SearchState, strategy: Strategy, mesh: Mesh | None = None
) -> tuple[SearchState, Record]:
    """Children, their fitness, and who survives. Arguments as in `first_generation`."""
    key, ask_key, score_key, tell_key = jax.random.split(state.key, 4)
    genomes, evolver = parts.evolver.ask(ask_key, state.evolver)
    task = parts.space, parts.objective, parts.screens
    fitness, scores = race(*task, score_key, genomes, strategy, mesh)
    evolver = parts.evolver.tell(tell_key, genomes, fitness, evolver)
    failures = state.failures + jnp.sum(jnp.isnan(scores.fitness), dtype=jnp.int32)
    best = better(state.best, genomes, fitness)
    spent = state.evaluations + _cost(parts, genomes)
    state = SearchState(key, evolver, best, spent, failures)
    return state, record_of(state, genomes, fitness)


def count_evaluations(parts: Parts, state: SearchState) -> int:
    """Evaluations that the next generation counts; nothing is computed."""
    genomes, _ = jax.eval_shape(parts.evolver.ask, state.key, state.evolver)
    return _cost(parts, genomes)


def _cost(parts: Parts, genomes: Genomes) -> int:
    """Evaluations that a generation counts: its children's, and what making them cost."""
    population = int(jax.tree.leaves(genomes)[0].shape[0])
    making = math.ceil(population * parts.mutation.cost - ROUNDING)
    return making + evaluations(parts.screens, population)
