"""Many devices: what each of them does of a generation, and what travels between them.

The axis `pop` shares out the candidates. Every device holds the search's state, packed genomes
too, asks for the same children from the same key, decodes and evaluates a share of them, and
receives the others' fitness: four bytes per candidate are all that travels, and no number is
computed in another way than on one device. The axis `inputs` splits the inputs of each forward
pass; XLA sums over it, so fitness differs by rounding.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

POPULATION, INPUTS = "pop", "inputs"
_EXAMPLE = "Write for example pop=4, or pop=4,inputs=2."


def make_mesh(text: str) -> Mesh:
    """A mesh of the first devices, from its axes and their sizes.

    Args:
      text: `pop=4`, or `pop=4,inputs=2`; the last axis is that of neighbouring devices.

    Raises:
      ValueError: the text is no mesh, or there are too few devices.

    >>> dict(make_mesh("pop=1").shape)
    {'pop': 1}
    """
    pairs = [part.partition("=") for part in text.split(",")]
    names = tuple(name.strip() for name, _, _ in pairs)
    sizes = tuple(int(size) if size.strip().isdecimal() else 0 for _, _, size in pairs)
    if fault := _axes_fault(names) or (None if all(sizes) else "its sizes are whole numbers"):
        raise ValueError(f"a mesh is axes and sizes, got {text!r}: {fault}. {_EXAMPLE}")
    devices, needed = jax.devices(), math.prod(sizes)
    if needed > len(devices):
        raise ValueError(
            f"the mesh {text} needs {needed} devices, there are {len(devices)} "
            f"({devices[0].platform}). Make it smaller; for a trial on a CPU, "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={needed} makes as many of it."
        )
    axis_types = (AxisType.Auto,) * len(names)
    return jax.make_mesh(sizes, names, axis_types, devices=devices[:needed])


def mesh_fault(mesh: object) -> str | None:
    """What is wrong with a mesh for a search, in words; None if nothing is."""
    if not isinstance(mesh, Mesh):
        return f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}"
    if fault := _axes_fault(mesh.axis_names):
        return f"a mesh with the axes {', '.join(map(str, mesh.axis_names))} is of no use: {fault}"
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        return (
            f"the axes of the mesh must be of type Auto, got {mesh.axis_types}; pass axis_types="
            "(AxisType.Auto,) * number of axes to jax.make_mesh"
        )
    reached = {device.process_index for device in mesh.devices.flat}
    if without := set(range(jax.process_count())) - reached:
        return (
            f"the mesh has no device of process {min(without)}, and all take part. There "
            f"are {jax.device_count()} devices: make it larger, or leave it out for one over all"
        )
    return None


def num_shares(mesh: Mesh | None) -> int:
    """Devices among which a population, or islands, are shared out."""
    return 1 if mesh is None else mesh.shape[POPULATION]


def on_mesh(mesh: Mesh | None, function: Callable[..., Any], arguments: Any, results: Any) -> Any:
    """The same function, run by all devices of a mesh; inside, they are told apart by `pop`.

    Args:
      mesh: None for one device, where the function stays as it is.
      function: arrays in pytrees to arrays in pytrees.
      arguments: specs of its arguments, a tuple of pytree prefixes; `Spec()` is the whole on all.
      results: likewise.
    """
    if mesh is None:
        return function
    shared = jax.shard_map(
        function,
        mesh=mesh,
        in_specs=arguments,
        out_specs=results,
        axis_names={POPULATION},
        check_vma=False,  # all devices compute the same from the same
    )

    def placed(*values: Any) -> Any:
        found = shared(*values)
        wanted = shardings(mesh, results, found)
        return jax.tree.map(jax.lax.with_sharding_constraint, found, wanted)

    return placed


def in_shares(mesh: Mesh | None, function: Callable[[Any], Any], population: Any) -> Any:
    """A function of a population, each device of a mesh computing a share of it.

    Where shares are not equal, the last candidate is computed more than once.

    Args:
      mesh: None for one device.
      function: pytree with leading axis `p`, any number, to pytree with leading axis `p`.
      population: pytree with leading axis `P`, the same on all devices.

    Returns:
      What the function returns for all, on all devices.
    """
    if mesh is None:
        return function(population)
    size = jax.tree.leaves(population)[0].shape[0]
    share = -(-size // num_shares(mesh))
    first = jax.lax.axis_index(POPULATION) * share
    mine = jnp.minimum(first + jnp.arange(share), size - 1)
    values = function(jax.tree.map(lambda leaf: leaf[mine], population))
    return jax.tree.map(lambda leaf: gathered(leaf)[:size], values)


def gathered(leaf: jax.Array, axis: int = 0) -> jax.Array:
    """What all devices have, along an axis."""
    return jax.lax.all_gather(leaf, POPULATION, axis=axis, tiled=True)


def shardings(mesh: Mesh, specs: Any, tree: Any) -> Any:
    """The sharding of every leaf of a tree, from a prefix of it with specs."""

    def of(spec: Spec, part: Any) -> Any:
        return jax.tree.map(lambda leaf: NamedSharding(mesh, spec), part)

    return jax.tree.map(of, specs, tree, is_leaf=lambda node: isinstance(node, Spec))


def _axes_fault(names: tuple[Any, ...]) -> str | None:
    if len(set(names)) == len(names) and {POPULATION} <= set(names) <= {POPULATION, INPUTS}:
        return None
    return f"its axes are {POPULATION} and, if wanted, {INPUTS}"
