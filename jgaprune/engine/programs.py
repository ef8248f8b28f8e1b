"""The compiled programs of a search: generation 0, a block of generations, and a single one."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as Spec
from jax.stages import Lowered

from jgaprune.engine.generation import Parts, first_generation, next_generation
from jgaprune.engine.islands import (
    Islands,
    first_island_generations,
    island_specs,
    next_island_generations,
)
from jgaprune.engine.mesh import on_mesh, shardings
from jgaprune.engine.placement import put
from jgaprune.engine.record import no_records
from jgaprune.engine.seeds import Seeds
from jgaprune.engine.state import Record, SearchState
from jgaprune.engine.strategy import Strategy
from jgaprune.types import Array, Key

BLOCK = 64
"""Most generations of one device program; the host sees their Records in between."""
_WHOLE = Spec()


@dataclass(frozen=True)
class Means:
    """How and where generations are computed. Static: hashes by value.

    Attributes:
      strategy: how a population is evaluated.
      mesh: on which devices; None for one.
      islands: how many populations; None for one.
    """

    strategy: Strategy
    mesh: Mesh | None = None
    islands: Islands | None = None

    @property
    def specs(self) -> Any:
        """Where a state lies on the mesh, as a prefix of it."""
        return _WHOLE if self.islands is None else island_specs()


@partial(jax.jit, static_argnames=("population", "means"))
def initial(
    parts: Parts, seeds: Seeds | None, key: Key, *, population: int, means: Means
) -> tuple[SearchState, Record]:
    """Generation 0."""

    def program(parts: Parts, seeds: Seeds | None, key: Key) -> tuple[SearchState, Record]:
        task = parts, seeds, key, population, means.strategy, means.mesh
        if means.islands is None:
            return first_generation(*task)
        return first_island_generations(*task, means.islands)

    arguments = _WHOLE, _WHOLE, _WHOLE
    return on_mesh(means.mesh, program, arguments, (means.specs, _WHOLE))(parts, seeds, key)


@partial(jax.jit, static_argnames=("means",), donate_argnames=("state",))
def block(
    parts: Parts, state: SearchState, generations: Array, *, means: Means
) -> tuple[SearchState, Record]:
    """`generations` generations, at most `BLOCK`; the records after them are void."""

    def program(parts: Parts, state: SearchState, generations: Array) -> tuple[SearchState, Record]:
        if means.islands is not None:
            task = parts, state, generations, BLOCK, means.strategy, means.mesh
            return next_island_generations(*task, means.islands)
        return _generations(parts, state, generations, means)

    places = means.specs, _WHOLE
    run = on_mesh(means.mesh, program, (_WHOLE, *places), places)
    return run(parts, state, generations)


@partial(jax.jit, static_argnames=("means",))
def single(parts: Parts, state: SearchState, *, means: Means) -> tuple[SearchState, Record]:
    """One generation that may change the shapes in the state."""

    def program(parts: Parts, state: SearchState) -> tuple[SearchState, Record]:
        return next_generation(parts, state, means.strategy, means.mesh)

    return on_mesh(means.mesh, program, (_WHOLE, _WHOLE), (_WHOLE, _WHOLE))(parts, state)


def lowered(program: Any, *arguments: Any) -> Lowered:
    """A partial of a jitted function, ready to be compiled for further arguments of these types."""
    return program.func.lower(*program.args, *arguments, **program.keywords)


def described(state: SearchState, means: Means) -> SearchState:
    """Shapes of a state, with where it lies on a mesh."""
    if means.mesh is None:
        return state
    places = shardings(means.mesh, means.specs, state)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        state,
        places,
    )


def placed(state: SearchState, means: Means) -> SearchState:
    """A state where its program wants it, from wherever it was: another mesh, or a file."""
    if means.mesh is None:
        return jax.tree.map(_on_one_device, state)
    return jax.tree.map(put, state, shardings(means.mesh, means.specs, state))


def _on_one_device(leaf: Array) -> Array:
    if isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, jax.Array):
        return leaf
    elsewhere = len(leaf.sharding.device_set) > 1
    return jax.device_put(leaf, jax.local_devices()[0]) if elsewhere else leaf


def _generations(
    parts: Parts, state: SearchState, generations: Array, means: Means
) -> tuple[SearchState, Record]:
    def body(index: Array, carry: tuple[SearchState, Record]) -> tuple[SearchState, Record]:
        state, records = carry
        state, record = next_generation(parts, state, means.strategy, means.mesh)
        return state, jax.tree.map(lambda all_, one: all_.at[index].set(one), records, record)

    return jax.lax.fori_loop(0, generations, body, (state, no_records(BLOCK)))
