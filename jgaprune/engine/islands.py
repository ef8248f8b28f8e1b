"""Islands: populations that evolve apart and exchange their best now and then.

Every island is a search of its own, from a key of its own. They run one after another on a device,
not side by side, so that their numbers are those of a search alone; over a mesh, every device has
as many of them. After so many generations the fittest of each island go to the next one in a ring.
An immigrant takes the place of the worst there if it is fitter and does not live there already:
otherwise an old best would come round again and again, and crowd out what it meets.

Migrants are all that travels between islands; the host gets the best genome of all, and scalars,
once per block of generations.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as Spec

from jgaprune.engine.generation import (
    Parts,
    count_evaluations,
    first_generation,
    next_generation,
)
from jgaprune.engine.mesh import POPULATION, gathered, num_shares
from jgaprune.engine.migration import Members, members_of, settled, take_fittest
from jgaprune.engine.placement import on_host_device
from jgaprune.engine.seeds import Seeds
from jgaprune.engine.state import Best, Record, SearchState
from jgaprune.engine.strategy import Strategy
from jgaprune.types import Array, Key


@dataclass(frozen=True)
class Islands:
    """How many there are, and what they exchange. Static: hashes by value.

    Attributes:
      count: islands, `K`.
      migrate_every: generations from one exchange to the next.
      migrants: of every island, `m`.
    """

    count: int
    migrate_every: int = 10
    migrants: int = 1

    def faults(self, mesh: Mesh | None = None) -> list[str]:
        """What is wrong with it, in words."""
        numbers = {"islands": self.count, "migrate_every": self.migrate_every}
        numbers["migrants"] = self.migrants
        found = [
            f"{name} must be at least 1, got {value}"
            for name, value in numbers.items()
            if value < 1
        ]
        shares = num_shares(mesh)
        if self.count > 1 and self.count % shares:
            found.append(
                f"{self.count} islands cannot be shared out evenly over {POPULATION}={shares}: "
                "every device needs as many whole islands. Use a multiple, or fewer devices"
            )
        return found


class Archipelago(NamedTuple):
    """What the evolver's state is where there are islands.

    Attributes:
      islands: the state of each, leading axis `K`.
      age: `int32 []`, generations so far.
    """

    islands: SearchState
    age: Array


def island_specs() -> Any:
    """Where the state of a search with islands lies: islands shared out, the rest everywhere."""
    whole: Any = Spec()
    islands: Any = Spec(POPULATION)
    return SearchState(whole, Archipelago(islands, whole), whole, whole, whole)


def first_island_generations(
    parts: Parts,
    seeds: Seeds | None,
    key: Key,
    population: int,
    strategy: Strategy,
    mesh: Mesh | None,
    islands: Islands,
) -> tuple[SearchState, Record]:
    """Generation 0 of every island.

    Args:
      parts: of the search.
      seeds: with a leading axis `K`; None for none.
      key: island `i` gets `fold_in(key, i)`.
      population: size of generation 0 on each.
      strategy: how a population is evaluated.
      mesh: over which islands are shared out; inside of `on_mesh` only.
      islands: how many.
    """
    num_local = islands.count // num_shares(mesh)
    start = 0 if mesh is None else jax.lax.axis_index(POPULATION) * num_local
    mine = start + jnp.arange(num_local)
    own_seeds = jax.tree.map(lambda leaf: leaf[mine], seeds)

    def first(own: tuple[Array, Seeds | None]) -> tuple[SearchState, Record]:
        index, seeds = own
        own_key = jax.random.fold_in(key, index)
        return first_generation(parts, seeds, own_key, population, strategy)

    states, records = jax.lax.map(first, (mine, own_seeds))
    return _summed(key, Archipelago(states, jnp.int32(0)), mesh), _together(records, mesh)


def next_island_generations(
    parts: Parts,
    state: SearchState,
    generations: Array,
    room: int,
    strategy: Strategy,
    mesh: Mesh | None,
    islands: Islands,
) -> tuple[SearchState, Record]:
    """`generations` generations of every island, at most `room`; arguments as above.

    Devices wait for each other where islands exchange, and not in between.
    """

    def next_of(island: SearchState) -> tuple[SearchState, Record]:
        return next_generation(parts, island, strategy)

    def exchange(states: SearchState) -> SearchState:
        return _exchanged(states, islands.migrants, mesh)

    def body(index: Array, carry: tuple[Archipelago, Record]) -> tuple[Archipelago, Record]:
        (states, age), records = carry
        states, record = jax.lax.map(next_of, states)
        age = age + 1
        due = age % islands.migrate_every == 0
        states = jax.lax.cond(due, exchange, lambda same: same, states)
        records = jax.tree.map(lambda all_, one: all_.at[index].set(one), records, record)
        return Archipelago(states, age), records

    num_local = islands.count // num_shares(mesh)
    zeros = jnp.zeros((room, num_local))
    empty = Record(zeros, zeros, zeros, jnp.zeros((room, num_local), jnp.int32))
    archipelago, records = jax.lax.fori_loop(0, generations, body, (state.evolver, empty))
    return _summed(state.key, archipelago, mesh), _together(records, mesh)


def count_island_evaluations(parts: Parts, state: SearchState, count: int) -> int:
    """Evaluations that the next generation of all islands counts; nothing is computed."""
    one = jax.eval_shape(
        lambda islands: jax.tree.map(lambda leaf: leaf[0], islands), state.evolver.islands
    )
    return count * count_evaluations(parts, one)


def survivors_of(state: SearchState) -> Members:
    """Members of all islands, or of the one population, in no order, on the default device.

    Returns:
      `genomes` and `fitness` with one leading axis, and what else belongs to them; nothing if the
      evolver keeps no members.
    """
    evolver = state.evolver
    if not isinstance(evolver, Archipelago):
        return on_host_device(members_of(evolver))
    members = on_host_device(members_of(evolver.islands.evolver))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), members)


def _exchanged(states: SearchState, migrants: int, mesh: Mesh | None) -> SearchState:
    leaving = jax.vmap(lambda state: take_fittest(state, migrants))(states.evolver)
    arriving = jax.tree.map(lambda leaf: _from_neighbour(leaf, mesh), leaving)
    return states._replace(evolver=jax.vmap(settled)(states.evolver, arriving))


def _from_neighbour(leaf: Array, mesh: Mesh | None) -> Array:
    """For every island what the one before it has, in a ring; leading axis local islands."""
    if mesh is None:
        return jnp.roll(leaf, 1, axis=0)
    devices = num_shares(mesh)
    ring = [(device, (device + 1) % devices) for device in range(devices)]
    first = jax.lax.ppermute(leaf[-1:], POPULATION, ring)
    return jnp.concatenate([first, leaf[:-1]])


def _summed(key: Key, archipelago: Archipelago, mesh: Mesh | None) -> SearchState:
    """The state of the whole search: the best of all islands, and what they spent together."""
    islands = archipelago.islands
    fitness, evaluations, failures = (
        _of_all(leaf, mesh)
        for leaf in (islands.best.fitness, islands.evaluations, islands.failures)
    )
    index = jnp.argmin(fitness)
    genome = jax.tree.map(lambda leaf: _one_of_all(leaf, index, mesh), islands.best.genome)
    best = Best(genome, fitness[index])
    return SearchState(key, archipelago, best, jnp.sum(evaluations), jnp.sum(failures))


def _together(records: Record, mesh: Mesh | None) -> Record:
    """Records of all islands as one, from those of the local ones along the last axis."""
    best, mean_fitness, diversity, evaluations = (_of_all(leaf, mesh) for leaf in records)
    finite = jnp.isfinite(mean_fitness)
    mean = jnp.sum(jnp.where(finite, mean_fitness, 0.0), -1) / jnp.maximum(jnp.sum(finite, -1), 1)
    return Record(
        jnp.min(best, -1),
        jnp.where(jnp.any(finite, -1), mean, jnp.inf),
        jnp.mean(diversity, -1),
        jnp.sum(evaluations, -1),
    )


def _of_all(leaf: Array, mesh: Mesh | None) -> Array:
    """Numbers of all islands along the last axis."""
    return leaf if mesh is None else gathered(leaf, axis=leaf.ndim - 1)


def _one_of_all(leaf: Array, index: Array, mesh: Mesh | None) -> Array:
    """Of leaves of islands that are shared out, one: its bits, summed with zeros of the others."""
    if mesh is None:
        return leaf[index]
    num_local = leaf.shape[0]
    mine = index // num_local == jax.lax.axis_index(POPULATION)
    own = leaf[index % num_local]
    bits = jax.lax.bitcast_convert_type(own, f"uint{8 * own.dtype.itemsize}")
    total = jax.lax.psum(jnp.where(mine, bits, jnp.zeros_like(bits)), POPULATION)
    return jax.lax.bitcast_convert_type(total, own.dtype)
