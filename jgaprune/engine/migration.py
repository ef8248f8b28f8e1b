"""Who leaves an island, and who may settle on another one.

It works on any evolver whose state is a NamedTuple with `genomes` and `fitness` of its members,
and with `traits` if something else belongs to each of them.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array, Evolver, MaskSpace

Members = dict[str, Any]
"""What belongs to the members of a population, by field of the state: leading axis members."""
_FIELDS = ("genomes", "fitness", "traits")


def migration_fault(
    space: MaskSpace, evolver: Evolver, population: int, migrants: int
) -> str | None:
    """Why members of an evolver cannot migrate, in words; None if they can.

    Args:
      space: of the search.
      evolver: of every island.
      population: size of generation 0.
      migrants: that leave each island at once.
    """
    if evolver.restage is not None:
        return "islands need an evolver whose population stays as large as it is; this one's grows"

    def first_state(key: Array) -> Any:
        genomes = jax.vmap(space.sample)(jax.random.split(key, population))
        return evolver.init(key, genomes, jnp.zeros(population))

    members = members_of(jax.eval_shape(first_state, jax.random.key(0)))
    if not members:
        return (
            "islands exchange members, of which this evolver keeps none: its state has no "
            "`genomes` and `fitness`. Use genetic or level_switch"
        )
    size = members["fitness"].shape[0]
    return f"{migrants} migrants are more than the {size} members" if migrants > size else None


def members_of(state: Any) -> Members:
    """The members of an evolver's state; nothing if it keeps none."""
    if not all(hasattr(state, name) for name in (*_FIELDS[:2], "_replace")):
        return {}
    return {name: getattr(state, name) for name in _FIELDS if hasattr(state, name)}


def take_fittest(state: Any, count: int) -> Members:
    """The `count` fittest members of an evolver's state, fittest first."""
    members = members_of(state)
    return _rows(members, jnp.argsort(members["fitness"], stable=True)[:count])


def settled(state: Any, arriving: Members) -> Any:
    """An evolver's state once others took the places of its worst.

    Only those do that are fitter than the one in their place, and no copy of a member.

    Args:
      state: of the evolver, `P` members.
      arriving: fittest first, fewer than the members or as many.
    """
    members = members_of(state)
    count = arriving["fitness"].shape[0]
    places = jnp.argsort(members["fitness"], stable=True)[::-1][:count]
    fitter = arriving["fitness"] < members["fitness"][places]
    welcome = fitter & ~_known(members["genomes"], arriving["genomes"])

    def with_arrivals(old: Array, new: Array) -> Array:
        kept = welcome.reshape(count, *[1] * (new.ndim - 1))
        return old.at[places].set(jnp.where(kept, new, old[places]))

    return state._replace(**jax.tree.map(with_arrivals, members, arriving))


def _known(genomes: Any, arriving: Any) -> Array:
    """Which genomes are among others already, `bool`."""

    def equal(one: Array, other: Array) -> Array:
        return jnp.all(one == other, axis=tuple(range(1, one.ndim)))

    def is_known(genome: Any) -> Array:
        same = jax.tree.map(lambda all_, one: equal(all_, one[None]), genomes, genome)
        return jnp.any(jnp.stack(jax.tree.leaves(same)).all(axis=0))

    return jax.lax.map(is_known, arriving)


def _rows(members: Members, places: Array) -> Members:
    return jax.tree.map(lambda leaf: leaf[places], members)
