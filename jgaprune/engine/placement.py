"""Where the arrays of a search lie: on all devices of a mesh, or split along their inputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from jgaprune.engine.mesh import INPUTS
from jgaprune.model import Model
from jgaprune.objectives.scoring import Setting
from jgaprune.types import Array, Objective


def everywhere(tree: Any, mesh: Mesh | None) -> Any:
    """The same arrays on every device of a mesh; those that lie on the mesh already stay.

    Args:
      tree: pytree; what is no array in it stays as it is.
      mesh: None leaves all where it is.
    """
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: _placed(leaf, mesh, Spec()), tree)


def on_host_device(tree: Any) -> Any:
    """Copies on the default device, of arrays from any mesh, that outlive them."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), readable(tree))


def readable(tree: Any) -> Any:
    """The same arrays, of which every process can read all; all processes take part."""
    leaves, structure = jax.tree.flatten(tree)
    parted = {index: leaf for index, leaf in enumerate(leaves) if _is_parted(leaf)}
    if parted:
        mesh = next(iter(parted.values())).sharding.mesh  # type: ignore[attr-defined]
        whole = jax.jit(_same, out_shardings=NamedSharding(mesh, Spec()))(parted)
        leaves = [whole.get(index, leaf) for index, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, leaves)


def put(leaf: Any, sharding: NamedSharding) -> Array:
    """An array that every process has, on devices of all processes."""
    if sharding.is_fully_addressable or (isinstance(leaf, jax.Array) and leaf.sharding == sharding):
        return jax.device_put(leaf, sharding)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        bits = put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def along_inputs(objective: Objective, mesh: Mesh | None, *, strict: bool = True) -> Objective:
    """An objective whose arrays with one entry per input are split over the axis `inputs`.

    XLA computes the same wherever arrays lie: this decides what each device works on. Of the
    network's own arrays none is split.

    Args:
      objective: of this library; another one's arrays are placed by the caller.
      mesh: whose axis `inputs` splits them, if it has one.
      strict: whether inputs that cannot be split are refused, or else stay whole.

    Raises:
      ValueError: their number is no multiple of the axis, or they are not known.
    """
    if mesh is None or INPUTS not in mesh.shape:
        return objective
    shown, sizes = _numbers_of_inputs(objective)
    parts = mesh.shape[INPUTS]
    if strict and not shown and not _lies_on(mesh, objective):
        raise ValueError(
            f"which arrays of an objective of your own are inputs is not known here: place them "
            f"yourself, jax.device_put(array, NamedSharding(mesh, PartitionSpec({INPUTS!r}))), or "
            f"use a mesh without the axis {INPUTS}."
        )
    odd = [size for size in shown if size % parts]
    if strict and odd:
        raise ValueError(
            f"{odd[0]} inputs cannot be split evenly over {INPUTS}={parts}: pass a multiple of "
            f"{parts}, or a smaller axis."
        )

    def placed(node: Any) -> Any:
        if isinstance(node, Model) or not getattr(node, "ndim", 0):
            return node
        fits = node.shape[0] in sizes and node.shape[0] % parts == 0
        return _placed(node, mesh, Spec(INPUTS)) if fits else node

    return jax.tree.map(placed, objective, is_leaf=lambda node: isinstance(node, Model))


def _numbers_of_inputs(objective: Objective) -> tuple[set[int], set[int]]:
    """How many are shown, and all leading axes of arrays like them: a repair works on a part."""
    settings = jax.tree.leaves(objective, is_leaf=lambda node: isinstance(node, Setting))
    shown = [node.shown for node in settings if isinstance(node, Setting)]
    alike = {(one.shape[1:], one.dtype) for one in shown}
    leaves = jax.tree.leaves(objective, is_leaf=lambda node: isinstance(node, Model))
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array | np.ndarray) and leaf.ndim]
    sizes = {leaf.shape[0] for leaf in arrays if (leaf.shape[1:], leaf.dtype) in alike}
    return {one.shape[0] for one in shown}, sizes


def _placed(leaf: Any, mesh: Mesh, spec: Spec) -> Any:
    if not isinstance(leaf, jax.Array | np.ndarray) or _lies_on(mesh, leaf):
        return leaf
    return put(leaf, NamedSharding(mesh, spec))


def _is_parted(leaf: Any) -> bool:
    """Whether some of an array lies on other processes only."""
    if not isinstance(leaf, jax.Array):
        return False
    return not (leaf.is_fully_addressable or leaf.is_fully_replicated)


def _same(leaves: Any) -> Any:
    return leaves


def _lies_on(mesh: Mesh, tree: Any) -> bool:
    """Whether an array of a tree was put onto the mesh before."""
    places = [getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(tree)]
    return any(isinstance(one, NamedSharding) and one.mesh == mesh for one in places)
