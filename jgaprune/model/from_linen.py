"""Flax Linen modules as pure functions.

Linen's own method interception shows the batch-norm layers; the intercepted layer is computed
here with the statistics that the rule chooses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.tracers import current_trace
from jax.tree_util import Partial, PyTreeDef

from jgaprune.model.forward import (
    Forward,
    batch_statistics,
    named_leaves,
    norms_in_forward_order,
)
from jgaprune.types import Array, Buffers, Norm, NormRecord, NormRule, Params


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Structure:
    """How flat dicts become Linen's variables again; hashes by value where the module does."""

    module: nn.Module
    call: Callable[[Any, Array], Array] | None
    params: PyTreeDef
    param_names: tuple[str, ...]
    buffers: PyTreeDef
    buffer_names: tuple[str, ...]


def forward_from_linen(
    module: nn.Module,
    variables: dict[str, Any],
    inputs: jax.ShapeDtypeStruct,
    call: Callable[[Any, Array], Array] | None = None,
) -> Forward:
    """Takes a Linen module and its variables apart.

    Args:
      module: called as `module(inputs [N, ...]) -> logits [N, C]`, in evaluation mode.
      variables: `{"params": ..., "batch_stats": ...}` and any other collections.
      inputs: shape and type of some inputs, `[N, ...]`.
      call: `module, inputs -> logits` where the module is called in another way.

    Raises:
      ValueError: there is no `params` collection, two leaves have the same name, the module
        trains, or it has batch-norm layers inside a lifted transformation or calls one twice.
    """
    if "params" not in variables:
        raise ValueError(
            f"variables must hold a 'params' collection, got {sorted(variables)}. "
            "Pass what `module.init` returned, or {'params': ..., 'batch_stats': ...}."
        )
    params, params_tree = _flatten({"params": variables["params"]})
    rest = {collection: tree for collection, tree in variables.items() if collection != "params"}
    buffers, buffers_tree = _flatten(rest)
    structure = _Structure(module, call, params_tree, tuple(params), buffers_tree, tuple(buffers))
    observe = Partial(_observe, structure)
    try:
        norms = norms_in_forward_order(observe, params, buffers, inputs)
    except flax.errors.ModifyScopeVariableError as error:
        raise ValueError(
            f"{type(module).__name__} updates its batch statistics: it runs in training mode. "
            "Pass call=lambda module, inputs: module(inputs, train=False), or whatever puts it "
            "into evaluation mode."
        ) from error
    return Forward(Partial(_apply, structure), observe, params, buffers, norms)


def _flatten(collections: dict[str, Any]) -> tuple[dict[str, Array], PyTreeDef]:
    """Leaves by name without the collection's own name, and the structure to rebuild."""
    paths, tree = jax.tree_util.tree_flatten_with_path(collections)
    return named_leaves([(path[1:], leaf) for path, leaf in paths]), tree


def _variables(structure: _Structure, params: Params, buffers: Buffers) -> dict[str, Any]:
    leaves = structure.params.unflatten([params[name] for name in structure.param_names])
    rest = structure.buffers.unflatten([buffers[name] for name in structure.buffer_names])
    return {**leaves, **rest}


def _apply(structure: _Structure, params: Params, buffers: Buffers, inputs: Array) -> Array:
    logits: Array = structure.module.apply(  # type: ignore[assignment]
        _variables(structure, params, buffers), inputs, method=structure.call
    )
    return logits


def _observe(
    structure: _Structure, params: Params, buffers: Buffers, inputs: Array, rule: NormRule
) -> tuple[Array, dict[str, NormRecord]]:
    records: dict[str, NormRecord] = {}
    outside = current_trace()

    def intercept(call, args, options, context):
        layer = context.module
        if not isinstance(layer, nn.BatchNorm) or context.method_name != "__call__":
            return call(*args, **options)
        name = ".".join(layer.path)
        if current_trace() != outside:
            raise ValueError(
                f"the batch-norm layer {name} is inside a lifted transformation (nn.remat, "
                "nn.scan, ...), where its statistics cannot be seen. Construct the module without "
                "it; after nn.remat the variables still fit."
            )
        stored = Norm(buffers[f"{name}.mean"], buffers[f"{name}.var"])
        batch = batch_statistics(args[0], layer.axis)
        used = rule(name, batch, stored)
        records[name] = NormRecord(batch, used)
        return call(_shifted(args[0], stored, used, layer), *args[1:], **options)

    with nn.intercept_methods(intercept):
        return _apply(structure, params, buffers, inputs), records


def _shifted(x: Array, stored: Norm, used: Norm, layer: nn.BatchNorm) -> Array:
    """The input that, normalised with the stored statistics, gives `x` under the used ones."""
    shape = [1] * x.ndim
    shape[layer.axis] = -1
    ratio = jnp.sqrt((stored.var + layer.epsilon) / (used.var + layer.epsilon))
    shift = stored.mean - used.mean * ratio
    return x * ratio.reshape(shape) + shift.reshape(shape)
