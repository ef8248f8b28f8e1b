"""The search: ask, decode, mask, repair, forward, score, tell, as one device program.

`build_search` bundles a space, an objective and an evolver; `Search.run` loops over generations
on the device with donated state, and the host receives scalar Records only. Space, objective
and evolver are arguments of the compiled program, so their arrays are never constants in it, and
searches that differ in arrays alone share it. The number of generations is an argument too.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.engine.evaluate import evaluate
from jgaprune.engine.state import Best, Record, SearchState
from jgaprune.types import Array, Evolver, Fitness, Genomes, Key, MaskSpace, Objective

_BLOCK = 64
"""Most generations of one device program; the host sees their Records in between."""


class Search(NamedTuple):
    """A search ready to run. `state` arguments are donated: go on with the returned one.

    Attributes:
      init: `key -> (state, record)`, samples, seeds and evaluates generation 0.
      step: `state -> (state, record)`, one generation.
      run: `state, generations -> (state, record [T])`, in blocks of one device program each; an
        evolver that changes its population runs one program per generation.
      compile: `() -> search`, the same search with its programs compiled beforehand.
    """

    init: Callable[[Key], tuple[SearchState, Record]]
    step: Callable[[SearchState], tuple[SearchState, Record]]
    run: Callable[[SearchState, int], tuple[SearchState, Record]]
    compile: Callable[[], "Search"]


class _Parts(NamedTuple):
    """What a compiled generation is made of; a pytree."""

    space: MaskSpace
    objective: Objective
    evolver: Evolver


def build_search(
    space: MaskSpace,
    objective: Objective,
    evolver: Evolver,
    *,
    population: int,
    seeds: Genomes | None = None,
    chunk: int = 1,
) -> Search:
    """Bundles a space, an objective and an evolver into a search.

    Args:
      space: what genomes mean.
      objective: scores one candidate; lower fitness is better.
      evolver: proposes and selects.
      population: size of generation 0, `P`.
      seeds: genomes with a leading axis, placed first in generation 0; at most `population`.
      chunk: candidates per vmapped forward pass.

    Raises:
      ValueError: population or chunk below 1, or more seeds than places.
    """
    num_seeds = 0 if seeds is None else jax.tree.leaves(seeds)[0].shape[0]
    if population < 1 or chunk < 1:
        raise ValueError(f"population and chunk must be at least 1, got {population} and {chunk}.")
    if num_seeds > population:
        raise ValueError(
            f"{num_seeds} seeds do not fit into a population of {population}; "
            "raise the population or pass fewer seeds."
        )
    parts = _Parts(space, objective, evolver._replace(restage=None))
    start = partial(_init, population=population, chunk=chunk)
    block = partial(_block, chunk=chunk)
    if evolver.restage is None:
        return _looping(parts, seeds, start, block)
    return _staged(parts, seeds, start, block, evolver)


def _looping(parts: _Parts, seeds: Genomes | None, start: Any, block: Any) -> Search:
    """A search whose generations all have the same shapes: many per device program."""

    def run(state: SearchState, generations: int) -> tuple[SearchState, Record]:
        done = [_no_records(0)]
        while generations > 0:
            count = min(generations, _BLOCK)
            state, records = block(parts, state, jnp.int32(count))
            done.append(jax.tree.map(lambda leaf, count=count: leaf[:count], records))
            generations -= count
        return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *done)

    def step(state: SearchState) -> tuple[SearchState, Record]:
        state, records = block(parts, state, jnp.int32(1))
        return state, jax.tree.map(lambda leaf: leaf[0], records)

    def compiled() -> Search:
        key = jax.random.key(0)
        state, _ = jax.eval_shape(start, parts, seeds, key)
        return _looping(
            parts,
            seeds,
            start.func.lower(parts, seeds, key, **start.keywords).compile(),
            block.func.lower(parts, state, jnp.int32(1), **block.keywords).compile(),
        )

    return Search(partial(start, parts, seeds), step, run, compiled)


def _staged(
    parts: _Parts, seeds: Genomes | None, start: Any, block: Any, evolver: Evolver
) -> Search:
    """A search whose population may change: one program per generation, compiled per stage."""

    def step(state: SearchState) -> tuple[SearchState, Record]:
        staged = evolver.restage(state.evolver)._replace(restage=None)  # type: ignore[misc]
        return _changing_step(parts._replace(evolver=staged), state, **block.keywords)

    def run(state: SearchState, generations: int) -> tuple[SearchState, Record]:
        done = [_no_records(0)]
        for _ in range(generations):
            state, record = step(state)
            done.append(jax.tree.map(lambda leaf: leaf[None], record))
        return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *done)

    def compiled() -> Search:
        return Search(partial(start, parts, seeds), step, run, compiled)

    return compiled()


@partial(jax.jit, static_argnames=("population", "chunk"))
def _init(
    parts: _Parts, seeds: Genomes | None, key: Key, *, population: int, chunk: int
) -> tuple[SearchState, Record]:
    key, sample_key, score_key, evolver_key = jax.random.split(key, 4)
    genomes = jax.vmap(parts.space.sample)(jax.random.split(sample_key, population))
    if seeds is not None:
        genomes = jax.tree.map(
            lambda all_, first: all_.at[: first.shape[0]].set(first), genomes, seeds
        )
    fitness, scores = evaluate(parts.space, parts.objective, score_key, genomes, chunk)
    nowhere = Best(jax.tree.map(lambda leaf: leaf[0], genomes), jnp.float32(jnp.inf))
    best = _better(nowhere, genomes, fitness)
    state = parts.evolver.init(evolver_key, genomes, fitness)
    failures = jnp.sum(jnp.isnan(scores.fitness), dtype=jnp.int32)
    state = SearchState(key, state, best, jnp.int32(population), failures)
    return state, _record(state, genomes, fitness)


@partial(jax.jit, static_argnames=("chunk",), donate_argnames=("state",))
def _block(
    parts: _Parts, state: SearchState, generations: Array, *, chunk: int
) -> tuple[SearchState, Record]:
    """`generations` generations, at most `_BLOCK`; the records after them are void."""

    def body(index: Array, carry: tuple[SearchState, Record]) -> tuple[SearchState, Record]:
        state, records = carry
        state, record = _generation(parts, state, chunk)
        return state, jax.tree.map(lambda all_, one: all_.at[index].set(one), records, record)

    return jax.lax.fori_loop(0, generations, body, (state, _no_records(_BLOCK)))


@partial(jax.jit, static_argnames=("chunk",))
def _changing_step(parts: _Parts, state: SearchState, *, chunk: int) -> tuple[SearchState, Record]:
    return _generation(parts, state, chunk)


def _no_records(count: int) -> Record:
    zeros = jnp.zeros(count)
    return Record(zeros, zeros, zeros, jnp.zeros(count, jnp.int32))


def _generation(parts: _Parts, state: SearchState, chunk: int) -> tuple[SearchState, Record]:
    key, ask_key, score_key, tell_key = jax.random.split(state.key, 4)
    genomes, evolver = parts.evolver.ask(ask_key, state.evolver)
    fitness, scores = evaluate(parts.space, parts.objective, score_key, genomes, chunk)
    evolver = parts.evolver.tell(tell_key, genomes, fitness, evolver)
    failures = state.failures + jnp.sum(jnp.isnan(scores.fitness), dtype=jnp.int32)
    best = _better(state.best, genomes, fitness)
    evaluations = state.evaluations + fitness.shape[0]
    state = SearchState(key, evolver, best, evaluations, failures)
    return state, _record(state, genomes, fitness)


def _better(best: Best, genomes: Genomes, fitness: Fitness) -> Best:
    """The better of the best ever and the best of a population; the older one on a tie."""
    index = jnp.argmin(fitness)
    improved = fitness[index] < best.fitness
    genome = jax.tree.map(
        lambda old, leaf: jnp.where(improved, leaf[index], old), best.genome, genomes
    )
    return Best(genome, jnp.where(improved, fitness[index], best.fitness))


def _record(state: SearchState, genomes: Genomes, fitness: Fitness) -> Record:
    finite = jnp.isfinite(fitness)
    mean = jnp.sum(jnp.where(finite, fitness, 0.0)) / jnp.maximum(jnp.sum(finite), 1)
    mean = jnp.where(jnp.any(finite), mean, jnp.inf)
    return Record(state.best.fitness, mean, _diversity(genomes), state.evaluations)


def _diversity(genomes: Array) -> Array:
    neighbours = jnp.roll(genomes, 1, axis=0)
    if genomes.dtype == jnp.uint32:
        differing = jax.lax.population_count(genomes ^ neighbours)
        return jnp.mean(differing.astype(jnp.float32)) / 32.0
    return jnp.mean(jnp.abs(genomes - neighbours))
