"""The search: ask, decode, mask, repair, forward, score, tell, as one device program.

`build_search` bundles a space, an objective and an evolver; `Search.run` loops over generations
on the device with donated state, and the host receives scalar Records only. Space, objective
and evolver are arguments of the compiled program, so their arrays are never constants in it, and
searches that differ in arrays alone share it. The number of generations is an argument too.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.stages import Compiled, Lowered
from jax.tree_util import Partial

from jgaprune.engine import programs
from jgaprune.engine.generation import Mutation, Parts, count_evaluations
from jgaprune.engine.islands import Islands, count_island_evaluations
from jgaprune.engine.mesh import mesh_fault
from jgaprune.engine.migration import migration_fault
from jgaprune.engine.placement import along_inputs, everywhere
from jgaprune.engine.programs import Means
from jgaprune.engine.record import no_records
from jgaprune.engine.screen import Screen, as_screens
from jgaprune.engine.seeds import Seeds, all_given, check_seeds, dealt
from jgaprune.engine.state import Record, SearchState
from jgaprune.engine.strategy import SEQUENTIAL, Strategy
from jgaprune.types import Evolver, Genomes, Key, MaskSpace, Objective


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
      lower: `key=None -> programs`, that of generation 0 and that of a block of the others, not
        yet compiled; of a staged search the first one only.
      compile: `key=None -> search`, the same search with its programs compiled beforehand, for
        keys of that kind; staged searches compile when a stage begins.
      programs: those that are compiled.
    """

    init: Callable[[Key], tuple[SearchState, Record]]
    step: Callable[[SearchState], tuple[SearchState, Record]]
    run: Callable[[SearchState, int], tuple[SearchState, Record]]
    children: Callable[[SearchState], int]
    staged: bool
    outline: Callable[[Key], SearchState]
    lower: Callable[..., tuple[Lowered, ...]]
    compile: Callable[..., "Search"]
    programs: tuple[Compiled, ...] = ()


def build_search(
    space: MaskSpace,
    objective: Objective,
    evolver: Evolver,
    *,
    population: int,
    seeds: Genomes | None = None,
    strategy: Strategy = SEQUENTIAL,
    screen: Screen | Sequence[Screen] | None = None,
    mesh: Mesh | None = None,
    islands: int = 1,
    migrate_every: int = 10,
    migrants: int = 1,
) -> Search:
    """Bundles a space, an objective and an evolver into a search.

    Args:
      space: what genomes mean.
      objective: scores one candidate; lower fitness is better.
      evolver: proposes and selects.
      population: size of generation 0, `P`, on every island.
      seeds: genomes with a leading axis, placed first in generation 0; at most `population`.
        Several islands get them dealt around, so that none is evaluated twice, every island
        starts from others, and their best is among the best of all.
      strategy: how a population is evaluated; `tune` finds the fastest.
      screen: how children are looked at before the best of them are evaluated in full; the
        others count as the worst. Several are looks one after another, each more expensive and
        with fewer survivors. None to evaluate them all, as generation 0 always is.
      mesh: devices that share the work, from `make_mesh`: the candidates, or whole islands, over
        its axis `pop`, and the inputs of each candidate over its axis `inputs`, if it has one.
        The first changes no bit of what "sequential" finds, the second rounds sums differently.
      islands: populations that evolve apart, each from a key of its own; over a mesh, a multiple
        of its axis `pop`.
      migrate_every: generations from one exchange of members between islands to the next.
      migrants: that go from every island to the next one in a ring, where they take the places
        of worse ones.

    Raises:
      ValueError: population below 1, impossible screens, mesh or islands, more seeds than
        places, or seeds that are no genomes of the space.
    """
    if population < 1:
        raise ValueError(f"population must be at least 1, got {population}.")
    screens = as_screens(screen)
    apart = Islands(islands, migrate_every, migrants)
    _check_devices(space, evolver, population, mesh, apart)
    if seeds is not None:
        check_seeds(as_pytree(space), seeds, population * islands)
    means = Means(strategy, mesh, apart if islands > 1 else None)
    screens = tuple(_placed_screen(one, mesh) for one in screens)
    parts = Parts(
        space,
        along_inputs(as_pytree(objective), mesh),
        evolver._replace(restage=None),
        screens,
        Mutation(float(space.mutation_cost)),
    )
    parts, planted = everywhere((as_pytree(parts), _seeds(seeds, means)), mesh)
    start = partial(programs.initial, parts, planted, population=population, means=means)
    if evolver.restage is not None:
        return _staged(parts, start, means, evolver.restage)
    return _looping(parts, start, partial(programs.block, parts, means=means), means)


def as_pytree(bundle: Any) -> Any:
    """A space, objective, evolver or repair whose plain functions may enter compiled programs.

    Functions that are pytrees already (`jax.tree_util.Partial`) stay as they are. Of a plain
    function, the arrays that it closes over become constants of the program.
    """
    return jax.tree.map(lambda leaf: Partial(leaf) if callable(leaf) else leaf, bundle)


def _check_devices(
    space: MaskSpace, evolver: Evolver, population: int, mesh: Mesh | None, islands: Islands
) -> None:
    """Refuses a mesh or islands that cannot work."""
    fault = None if mesh is None else mesh_fault(mesh)
    fault = fault or "; ".join(islands.faults(mesh))
    if islands.count > 1 and not fault:
        fault = migration_fault(space, evolver, population, islands.migrants)
    if fault:
        raise ValueError(fault + ".")


def _placed_screen(screen: Screen, mesh: Mesh | None) -> Screen:
    objective = along_inputs(as_pytree(screen.objective), mesh, strict=False)
    return Screen(objective, screen.survivors, screen.cost)


def _seeds(genomes: Genomes | None, means: Means) -> Seeds | None:
    if genomes is None:
        return None
    return all_given(genomes) if means.islands is None else dealt(genomes, means.islands.count)


def _looping(parts: Parts, start: Any, block: Any, means: Means) -> Search:
    """A search whose generations all have the same shapes: many per device program."""

    def init(key: Key) -> tuple[SearchState, Record]:
        return start(everywhere(key, means.mesh))

    def advance(state: SearchState, count: int) -> tuple[SearchState, Record]:
        number = everywhere(jnp.int32(count), means.mesh)
        return block(programs.placed(state, means), number)

    def run(state: SearchState, generations: int) -> tuple[SearchState, Record]:
        done = [] if generations > 0 else [no_records(0)]
        while generations > 0:
            count = min(generations, programs.BLOCK)
            state, records = advance(state, count)
            done.append(jax.tree.map(lambda leaf, count=count: leaf[:count], records))
            generations -= count
        return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *done)

    def step(state: SearchState) -> tuple[SearchState, Record]:
        state, records = advance(state, 1)
        return state, jax.tree.map(lambda leaf: leaf[0], records)

    def children(state: SearchState) -> int:
        if means.islands is None:
            return count_evaluations(parts, state)
        return count_island_evaluations(parts, state, means.islands.count)

    def lower(key: Key | None = None) -> tuple[Lowered, ...]:
        key = everywhere(jax.random.key(0) if key is None else key, means.mesh)
        state, _ = jax.eval_shape(start, key)
        one = everywhere(jnp.int32(1), means.mesh)
        later = programs.lowered(block, programs.described(state, means), one)
        return programs.lowered(start, key), later

    outline = partial(_outline, start)

    def compiled(key: Key | None = None) -> Search:
        first, later = (program.compile() for program in lower(key))
        ready = partial(first, *start.args), partial(later, *block.args)
        return _looping(parts, *ready, means)._replace(
            outline=outline, lower=lower, compile=compiled, programs=(first, later)
        )

    return Search(init, step, run, children, False, outline, lower, compiled)


def _outline(start: Any, key: Key) -> SearchState:
    state, _ = jax.eval_shape(start, key)
    return state


def _staged(parts: Parts, start: Any, means: Means, restage: Callable[[Any], Evolver]) -> Search:
    """A search whose population may change: one program per generation, compiled per stage."""

    def next_parts(state: SearchState) -> Parts:
        evolver = as_pytree(restage(state.evolver)._replace(restage=None))
        return parts._replace(evolver=everywhere(evolver, means.mesh))

    def init(key: Key) -> tuple[SearchState, Record]:
        return start(everywhere(key, means.mesh))

    def step(state: SearchState) -> tuple[SearchState, Record]:
        return programs.single(next_parts(state), programs.placed(state, means), means=means)

    def children(state: SearchState) -> int:
        return count_evaluations(next_parts(state), state)

    def run(state: SearchState, generations: int) -> tuple[SearchState, Record]:
        done = [] if generations > 0 else [no_records(0)]
        for _ in range(generations):
            state, record = step(state)
            done.append(jax.tree.map(lambda leaf: leaf[None], record))
        return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *done)

    def lower(key: Key | None = None) -> tuple[Lowered, ...]:
        key = everywhere(jax.random.key(0) if key is None else key, means.mesh)
        return (programs.lowered(start, key),)

    def compiled(key: Key | None = None) -> Search:
        (first,) = (program.compile() for program in lower(key))
        ready = _staged(parts, partial(first, *start.args), means, restage)
        return ready._replace(outline=outline, lower=lower, compile=compiled, programs=(first,))

    outline = partial(_outline, start)
    return Search(init, step, run, children, True, outline, lower, compiled)
