"""The search: ask, decode, mask, repair, forward, score, tell, as one device program.

`build_search` bundles a space, an objective and an evolver; `Search.run` loops over generations
on the device with donated state, and the host receives scalar Records only. Space, objective
and evolver are arguments of the compiled program, so their arrays are never constants in it, and
searches that differ in arrays alone share it. The number of generations is an argument too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.engine.evaluate import evaluate, race
from jgaprune.engine.record import better, no_records, record_of
from jgaprune.engine.screen import ROUNDING, Screen, Screens, as_screens, evaluations
from jgaprune.engine.seeds import check_seeds
from jgaprune.engine.state import Best, Record, SearchState
from jgaprune.engine.strategy import SEQUENTIAL, Strategy
from jgaprune.types import Array, Evolver, Genomes, Key, MaskSpace, Objective

_BLOCK = 64
"""Most generations of one device program; the host sees their Records in between."""


class Search(NamedTuple):
    """A search ready to run. `state` arguments are donated: go on with the returned one.

    Attributes:
      init: `key -> (state, record)`, samples, seeds and evaluates generation 0.
      step: `state -> (state, record)`, one generation.
      run: `state, generations -> (state, record [T])`, in blocks of one device program each; an
        evolver that changes its population runs one program per generation.
      children: `state -> int`, evaluations that the next generation counts.
      staged: whether that number may change from generation to generation.
      outline: `key -> state`, its shapes and dtypes, for keys of that kind.
      compile: `key=None -> search`, the same search with its programs compiled beforehand, for
        keys of that kind; staged searches compile when a stage begins.
    """

    init: Callable[[Key], tuple[SearchState, Record]]
    step: Callable[[SearchState], tuple[SearchState, Record]]
    run: Callable[[SearchState, int], tuple[SearchState, Record]]
    children: Callable[[SearchState], int]
    staged: bool
    outline: Callable[[Key], SearchState]
    compile: Callable[..., "Search"]


class _Parts(NamedTuple):
    """What a compiled generation is made of; a pytree."""

    space: MaskSpace
    objective: Objective
    evolver: Evolver
    screens: Screens
    mutation: "_Mutation"


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Mutation:
    """What one costs, in evaluations: a number that programs know, and no input of theirs."""

    cost: float


def build_search(
    space: MaskSpace,
    objective: Objective,
    evolver: Evolver,
    *,
    population: int,
    seeds: Genomes | None = None,
    strategy: Strategy = SEQUENTIAL,
    screen: Screen | Sequence[Screen] | None = None,
) -> Search:
    """Bundles a space, an objective and an evolver into a search.

    Args:
      space: what genomes mean.
      objective: scores one candidate; lower fitness is better.
      evolver: proposes and selects.
      population: size of generation 0, `P`.
      seeds: genomes with a leading axis, placed first in generation 0; at most `population`.
      strategy: how a population is evaluated; `tune` finds the fastest.
      screen: how children are looked at before the best of them are evaluated in full; the
        others count as the worst. Several are looks one after another, each more expensive and
        with fewer survivors. None to evaluate them all, as generation 0 always is.

    Raises:
      ValueError: population below 1, impossible screens, more seeds than places, or seeds that
        are no genomes of the space.
    """
    if population < 1:
        raise ValueError(f"population must be at least 1, got {population}.")
    screens = as_screens(screen)
    if seeds is not None:
        check_seeds(as_pytree(space), seeds, population)
    mutation = _Mutation(float(space.mutation_cost))
    unstaged = evolver._replace(restage=None)
    parts = as_pytree(_Parts(space, objective, unstaged, screens, mutation))
    start = partial(_init, parts, seeds, population=population, strategy=strategy)
    if evolver.restage is not None:
        return _staged(parts, start, strategy, evolver.restage)
    return _looping(parts, start, partial(_block, parts, strategy=strategy))


def as_pytree(bundle: Any) -> Any:
    """A space, objective, evolver or repair whose plain functions may enter compiled programs.

    Functions that are pytrees already (`jax.tree_util.Partial`) stay as they are. Of a plain
    function, the arrays that it closes over become constants of the program.
    """
    return jax.tree.map(lambda leaf: Partial(leaf) if callable(leaf) else leaf, bundle)


def _looping(parts: _Parts, start: Any, block: Any) -> Search:
    """A search whose generations all have the same shapes: many per device program."""

    def run(state: SearchState, generations: int) -> tuple[SearchState, Record]:
        done = [no_records(0)]
        while generations > 0:
            count = min(generations, _BLOCK)
            state, records = block(state, jnp.int32(count))
            done.append(jax.tree.map(lambda leaf, count=count: leaf[:count], records))
            generations -= count
        return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *done)

    def step(state: SearchState) -> tuple[SearchState, Record]:
        state, records = block(state, jnp.int32(1))
        return state, jax.tree.map(lambda leaf: leaf[0], records)

    outline = partial(_outline, start)

    def compiled(key: Key | None = None) -> Search:
        key = jax.random.key(0) if key is None else key
        ready = _looping(parts, _ahead(start, key), _ahead(block, outline(key), jnp.int32(1)))
        return ready._replace(outline=outline, compile=compiled)

    return Search(start, step, run, partial(_children, parts), False, outline, compiled)


def _outline(start: Any, key: Key) -> SearchState:
    state, _ = jax.eval_shape(start, key)
    return state


def _ahead(program: Any, *arguments: Any) -> Any:
    """A partial jitted function, compiled for further arguments of these types."""
    lowered = program.func.lower(*program.args, *arguments, **program.keywords)
    return partial(lowered.compile(), *program.args)


def _staged(
    parts: _Parts, start: Any, strategy: Strategy, restage: Callable[[Any], Evolver]
) -> Search:
    """A search whose population may change: one program per generation, compiled per stage."""

    def next_evolver(state: SearchState) -> Evolver:
        return as_pytree(restage(state.evolver)._replace(restage=None))

    def step(state: SearchState) -> tuple[SearchState, Record]:
        parts_of_stage = parts._replace(evolver=next_evolver(state))
        return _changing_step(parts_of_stage, state, strategy=strategy)

    def children(state: SearchState) -> int:
        return _children(parts._replace(evolver=next_evolver(state)), state)

    def run(state: SearchState, generations: int) -> tuple[SearchState, Record]:
        done = [no_records(0)]
        for _ in range(generations):
            state, record = step(state)
            done.append(jax.tree.map(lambda leaf: leaf[None], record))
        return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *done)

    outline = partial(_outline, start)
    search = Search(start, step, run, children, True, outline, lambda key=None: search)
    return search


def _children(parts: _Parts, state: SearchState) -> int:
    genomes, _ = jax.eval_shape(parts.evolver.ask, state.key, state.evolver)
    return _cost(parts, genomes)


def _cost(parts: _Parts, genomes: Genomes) -> int:
    """Evaluations that a generation counts: its children's, and what making them cost."""
    population = int(jax.tree.leaves(genomes)[0].shape[0])
    making = math.ceil(population * parts.mutation.cost - ROUNDING)
    return making + evaluations(parts.screens, population)


@partial(jax.jit, static_argnames=("population", "strategy"))
def _init(
    parts: _Parts, seeds: Genomes | None, key: Key, *, population: int, strategy: Strategy
) -> tuple[SearchState, Record]:
    key, sample_key, score_key, evolver_key = jax.random.split(key, 4)
    genomes = jax.vmap(parts.space.sample)(jax.random.split(sample_key, population))
    if seeds is not None:
        genomes = jax.tree.map(
            lambda all_, first: all_.at[: first.shape[0]].set(first), genomes, seeds
        )
    fitness, scores = evaluate(parts.space, parts.objective, score_key, genomes, strategy)
    nowhere = Best(jax.tree.map(lambda leaf: leaf[0], genomes), jnp.float32(jnp.inf))
    best = better(nowhere, genomes, fitness)
    state = parts.evolver.init(evolver_key, genomes, fitness)
    failures = jnp.sum(jnp.isnan(scores.fitness), dtype=jnp.int32)
    state = SearchState(key, state, best, jnp.int32(population), failures)
    return state, record_of(state, genomes, fitness)


@partial(jax.jit, static_argnames=("strategy",), donate_argnames=("state",))
def _block(
    parts: _Parts, state: SearchState, generations: Array, *, strategy: Strategy
) -> tuple[SearchState, Record]:
    """`generations` generations, at most `_BLOCK`; the records after them are void."""

    def body(index: Array, carry: tuple[SearchState, Record]) -> tuple[SearchState, Record]:
        state, records = carry
        state, record = _generation(parts, state, strategy)
        return state, jax.tree.map(lambda all_, one: all_.at[index].set(one), records, record)

    return jax.lax.fori_loop(0, generations, body, (state, no_records(_BLOCK)))


@partial(jax.jit, static_argnames=("strategy",))
def _changing_step(
    parts: _Parts, state: SearchState, *, strategy: Strategy
) -> tuple[SearchState, Record]:
    return _generation(parts, state, strategy)


def _generation(
    parts: _Parts, state: SearchState, strategy: Strategy
) -> tuple[SearchState, Record]:
    key, ask_key, score_key, tell_key = jax.random.split(state.key, 4)
    genomes, evolver = parts.evolver.ask(ask_key, state.evolver)
    task = parts.space, parts.objective, parts.screens
    fitness, scores = race(*task, score_key, genomes, strategy)
    evolver = parts.evolver.tell(tell_key, genomes, fitness, evolver)
    failures = state.failures + jnp.sum(jnp.isnan(scores.fitness), dtype=jnp.int32)
    best = better(state.best, genomes, fitness)
    spent = state.evaluations + _cost(parts, genomes)
    state = SearchState(key, evolver, best, spent, failures)
    return state, record_of(state, genomes, fitness)
