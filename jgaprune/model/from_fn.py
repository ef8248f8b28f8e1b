"""Plain JAX functions as models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.tree_util import Partial, PyTreeDef

from jgaprune.model.forward import Forward, named_leaves
from jgaprune.types import Array, Buffers, Params


def forward_from_fn(function: Callable[[Any, Array], Array], params: Any) -> Forward:
    """Takes a function of a parameter pytree and inputs apart.

    Its normalisation layers, if any, cannot be seen: no batch-norm repair, no synthesis.

    Args:
      function: `params, inputs [N, ...] -> logits [N, C]`, pure.
      params: any pytree of arrays.

    Raises:
      ValueError: two leaves have the same dotted name.
    """
    paths, tree = jax.tree_util.tree_flatten_with_path(params)
    leaves = named_leaves(paths)
    structure = _Structure(function, tree, tuple(leaves))
    return Forward(Partial(_apply, structure), None, leaves, {}, ())


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Structure:
    """The function and how flat dicts become its parameters again."""

    function: Callable[[Any, Array], Array]
    params: PyTreeDef
    names: tuple[str, ...]


def _apply(structure: _Structure, params: Params, buffers: Buffers, inputs: Array) -> Array:
    tree = structure.params.unflatten([params[name] for name in structure.names])
    return structure.function(tree, inputs)
