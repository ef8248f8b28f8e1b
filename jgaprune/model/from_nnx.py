"""Flax NNX modules as pure functions.

A module is split once into a static graph and arrays; each call merges a fresh copy, so no
state is shared and a plain `vmap` over parameters works. Batch-norm layers are seen through
`promote_dtype`, the constructor argument that every `nnx.BatchNorm` calls with its input and
the statistics it is about to use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from flax import nnx
from jax.tree_util import Partial, PyTreeDef

from jgaprune.model.forward import (
    Forward,
    Stepwise,
    batch_statistics,
    leaf_name,
    named_leaves,
    norms_in_forward_order,
)
from jgaprune.types import Array, Buffers, Norm, NormRecord, NormRule, Params


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Structure:
    """How flat dicts become the module again; hashes by value."""

    graph: Any
    call: Callable[[Any, Array], Array] | None
    params: PyTreeDef
    param_names: tuple[str, ...]
    buffers: PyTreeDef
    buffer_names: tuple[str, ...]


def forward_from_nnx(
    module: nnx.Module,
    inputs: jax.ShapeDtypeStruct,
    call: Callable[[Any, Array], Array] | None = None,
) -> Forward:
    """Takes an NNX module apart; a copy of it is put in evaluation mode, yours stays as it is.

    Args:
      module: called as `module(inputs [N, ...]) -> logits [N, C]`.
      inputs: shape and type of some inputs, `[N, ...]`.
      call: `module, inputs -> logits` where the module is called in another way.

    A module with methods `memory(num_inputs, length)` and `step(tokens, position, memory)`, as
    in `Stepwise`, can be read token by token.

    Raises:
      ValueError: the module trains all the same, or calls a batch-norm layer twice.
    """
    module = nnx.clone(module)
    module.eval()
    graph, params, randomness, buffers = nnx.split(  # type: ignore[misc]
        module, nnx.Param, nnx.RngState, ...
    )
    param_names, flat_params, params_tree = _flatten(params)
    buffer_names, flat_buffers, buffers_tree = _flatten(buffers)
    structure = _Structure(graph, call, params_tree, param_names, buffers_tree, buffer_names)
    _check_evaluates(structure, randomness, flat_params, flat_buffers, inputs)
    apply = Partial(_apply, structure, randomness)
    observe = Partial(_observe, structure, randomness)
    norms = norms_in_forward_order(observe, flat_params, flat_buffers, inputs)
    stepwise = None
    if hasattr(module, "step") and hasattr(module, "memory"):
        stepwise = Stepwise(
            Partial(_memory, structure, randomness), Partial(_step, structure, randomness)
        )
    return Forward(apply, observe, flat_params, flat_buffers, norms, stepwise)


def _flatten(state: nnx.State) -> tuple[tuple[str, ...], dict[str, Array], PyTreeDef]:
    """Leaf names, leaves by name, and the structure to rebuild the state."""
    paths, tree = jax.tree_util.tree_flatten_with_path(state)
    leaves = named_leaves(paths)
    return tuple(leaves), leaves, tree


def _merge(structure: _Structure, randomness: Any, params: Params, buffers: Buffers) -> Any:
    params_state = structure.params.unflatten([params[name] for name in structure.param_names])
    buffers_state = structure.buffers.unflatten([buffers[name] for name in structure.buffer_names])
    return nnx.merge(structure.graph, params_state, randomness, buffers_state)


def _apply(
    structure: _Structure, randomness: Any, params: Params, buffers: Buffers, inputs: Array
) -> Array:
    return _called(structure, _merge(structure, randomness, params, buffers), inputs)


def _called(structure: _Structure, module: Any, inputs: Array) -> Array:
    return module(inputs) if structure.call is None else structure.call(module, inputs)


def _memory(
    structure: _Structure,
    randomness: Any,
    params: Params,
    buffers: Buffers,
    num_inputs: int,
    length: int,
) -> Any:
    return _merge(structure, randomness, params, buffers).memory(num_inputs, length)


def _step(
    structure: _Structure,
    randomness: Any,
    params: Params,
    buffers: Buffers,
    tokens: Array,
    position: Array,
    memory: Any,
) -> tuple[Array, Any]:
    module = _merge(structure, randomness, params, buffers)
    return module.step(tokens, position, memory)


def _check_evaluates(
    structure: _Structure,
    randomness: Any,
    params: Params,
    buffers: Buffers,
    inputs: jax.ShapeDtypeStruct,
) -> None:
    """Refuses a module whose forward pass changes statistics or draws random numbers."""
    changed: list[str] = []

    def trace(randomness: Any, params: Params, buffers: Buffers, inputs: Array) -> Array:
        module = _merge(structure, randomness, params, buffers)
        before, _ = jax.tree_util.tree_flatten_with_path(nnx.state(module))
        logits = _called(structure, module, inputs)
        after, _ = jax.tree_util.tree_flatten_with_path(nnx.state(module))
        known = dict(before)
        changed.extend(leaf_name(path) for path, leaf in after if known.get(path, leaf) is not leaf)
        return logits

    jax.eval_shape(trace, randomness, params, buffers, inputs)
    if changed:
        raise ValueError(
            f"a forward pass changes {', '.join(changed)}: the module runs in training mode "
            "although eval() was called. Pass call=lambda module, inputs: module(inputs, "
            "train=False), or whatever puts it into evaluation mode."
        )


def _observe(
    structure: _Structure,
    randomness: Any,
    params: Params,
    buffers: Buffers,
    inputs: Array,
    rule: NormRule,
) -> tuple[Array, dict[str, NormRecord]]:
    module = _merge(structure, randomness, params, buffers)
    records: dict[str, NormRecord] = {}
    for path, node in nnx.iter_graph(module):
        if isinstance(node, nnx.BatchNorm):
            name = ".".join(str(part) for part in path)
            node.promote_dtype = partial(_intercept, node, name, rule, records, node.promote_dtype)
    return _called(structure, module, inputs), records


def _intercept(node, name, rule, records, promote_dtype, arrays, /, **options):
    """Stands in for a batch-norm's `promote_dtype`: same call, other statistics."""
    x, mean, var, *affine = arrays
    batch = batch_statistics(x, node.axis)
    used = rule(name, batch, Norm(mean, var))
    records[name] = NormRecord(batch, used)
    return promote_dtype((x, used.mean, used.var, *affine), **options)
