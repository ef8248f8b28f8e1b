"""Any `torch.nn.Module` as a `Model`, through `torch.export`.

A network that `load` knows by its architecture is better loaded so: its file is read without torch
and without its author's code, loading takes a fraction of the time, inputs have the channels last
as those of all other models, and its modules can be read. This is for all others. Both compute the
same, equally fast on CPU (`benchmarks/from_torch.py`).

Torch is imported when `from_torch` is called, and needed no longer once it has returned.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.exported.capture import as_example, capture, computing, import_torch
from jgaprune.converters.exported.lowering import Lowered, lower
from jgaprune.converters.exported.program import apply, observe
from jgaprune.converters.exported.state import State, as_array, dtype_name, state_of
from jgaprune.model import Forward, Model, Preprocessing, SourceTensor, Tokens
from jgaprune.types import Array


def from_torch(
    module: Any,
    example_inputs: Any,
    *,
    name: str | None = None,
    prunable: Callable[[str, Array], bool] | None = None,
    preprocessing: Preprocessing | None = None,
    vocabulary: int | None = None,
) -> Model:
    """A model from a PyTorch module with its weights loaded.

    The module is exported in evaluation mode, whatever mode it is in; it stays as it is. Inputs
    are as torch has them: images `[N, C, H, W]`, or tokens `[N, L]`; any number of them, of the
    example's shape otherwise. So `spec.input_shape` is `(C, H, W)`, and `spec.channel_axis` 0.

    Leaves are called as in the `state_dict`, but for `mean` and `var` of batch-norm layers.
    Weights of dense layers and convolutions are held in Flax layout, outputs last;
    `converters.to_source` gives the whole `state_dict` back.

    Args:
      module: a `torch.nn.Module`, on any device, in any real type; it is computed in float32, or
        in float64 where it is in that and JAX has 64 bits.
      example_inputs: one array or tensor `[N, ...]`, in a tuple if you like, or as
        `{"pixel_values": ...}` for the argument of that name; only its shape and type matter. The
        module returns a tensor of logits, or something with `.logits`, or its first tensor counts.
      name: for reports; the class's name by default.
      prunable: which leaves take part, by leaf name and leaf; by default the weights of dense
        layers, convolutions and matrix products that have more than one input per output. Tables
        that are looked up do not, nor does a head that is tied to one.
      preprocessing: how stored images `[N, H, W, C]` become inputs; statistics are per channel.
      vocabulary: how many tokens there are; by default as many as the table has rows in which the
        inputs are looked up.

    Returns:
      The model. Where the module's program holds for one number of inputs only, they go through it
      one by one, and a warning says so. Batch-norm layers are seen unless one is called twice.

    Raises:
      ConversionError: torch or its exporter is missing; the module can't be exported, has
        operators without a JAX function, draws random numbers, changes its buffers or uses batch
        statistics in evaluation mode, returns no tensor, or has weights that are quantised,
        sparse or complex. All operators and weights are listed.
      ValueError: logits are neither `[N, C]` nor, of tokens, `[N, L, C]`, or nothing is prunable.
    """
    torch = import_torch()
    if not isinstance(module, torch.nn.Module):
        raise ConversionError(
            f"expected a torch.nn.Module, got {type(module).__name__}. For a weight file there is "
            "converters.load(arch, path)."
        )
    keyword, example = as_example(torch, example_inputs)
    state = state_of(module)
    computed = computing(module)
    values = state if computed is module else state_of(computed)
    if example.is_floating_point():
        example = example.to(_dtype_of(values) or example.dtype)
    captured = capture(torch, computed, example, keyword)
    lowered = lower(captured, values)
    label = name or type(module).__name__
    tokens = None if example.is_floating_point() else vocabulary or lowered.vocabulary
    if tokens is None and not example.is_floating_point():
        raise ConversionError(
            f"{label} takes integers {list(example.shape)}, and looks them up in no embedding that "
            "tells how many tokens there are. Pass vocabulary=, or a module that takes floats."
        )
    forward = _forward(values, lowered, label)
    model = Model.from_forward(
        forward,
        tuple(example.shape[1:]),
        name=label,
        prunable=prunable or _is_weight(lowered),
        preprocessing=preprocessing,
        tokens=Tokens(tokens),
    )
    axis = 0 if example.ndim > 2 else -1
    return model._replace(
        spec=replace(model.spec, tensors=_tensors(state, lowered), channel_axis=axis)
    )


def _dtype_of(state: State) -> Any:
    floats = [one.dtype for one in state.tensors.values() if one.is_floating_point()]
    return floats[0] if floats else None


def _is_weight(lowered: Lowered) -> Callable[[str, Array], bool]:
    def is_weight(name: str, leaf: Array) -> bool:
        return name in lowered.weights and leaf.ndim >= 2 and leaf[..., 0].size > 1

    return is_weight


def _forward(state: State, lowered: Lowered, label: str) -> Forward:
    """The pure functions and arrays."""
    program = lowered.program
    arrays = {
        leaf: jnp.array(as_array(tensor, lowered.axes.get(leaf)))
        for leaf, tensor in state.tensors.items()
    }
    constants = {name: jnp.array(as_array(tensor)) for name, tensor in lowered.constants.items()}
    if program.one_by_one:
        warnings.warn(
            f"{label} asks Python for the number of inputs, so they go through its program one by "
            "one, side by side on the device. Where the module says len(x) or int(x.shape[0]), "
            "x.shape[0] alone would do.",
            stacklevel=3,
        )
    norms = program.norms
    visible = bool(norms) and len(set(norms)) == len(norms)
    return Forward(
        Partial(apply, program, constants),
        Partial(observe, program, constants) if visible else None,
        {leaf: array for leaf, array in arrays.items() if leaf in state.parameters},
        {leaf: array for leaf, array in arrays.items() if leaf not in state.parameters},
        norms if visible else (),
    )


def _tensors(state: State, lowered: Lowered) -> tuple[tuple[str, SourceTensor], ...]:
    """Where every tensor of the `state_dict` is held, in its order."""

    def described(name: str, leaf: str) -> SourceTensor:
        tensor = state.tensors[leaf]
        shape = tuple(tensor.shape)
        axes = lowered.axes.get(leaf, tuple(range(len(shape))))
        return SourceTensor(name, shape, dtype_name(tensor.dtype), axes, shape)

    return tuple((leaf, described(name, leaf)) for name, leaf in state.leaves.items())
