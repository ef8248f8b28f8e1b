"""Multilayer perceptrons of any widths, whatever their layers are called.

The k-th matrix named `*.weight` is layer k. Files list layers in the order of definition, but
safetensors files sort names as text; so layers that differ in a number only are put in the
order of that number, and an order in which widths don't match is not believed. No file tells
the activation, or how images were flattened: relu and one vector are assumed.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config, Shapes
from jgaprune.converters.models.layers import flatten, relu
from jgaprune.converters.names import natural_order
from jgaprune.model import Preprocessing
from jgaprune.types import Array

_DEFAULT_WIDTHS = (784, 300, 100, 10)
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
}


class Mlp(nnx.Module):
    """`[N, ...] -> [N, C]`: flattens its inputs; no activation after the last layer."""

    def __init__(self, widths: tuple[int, ...], bias: bool, activation: str, rngs: nnx.Rngs):
        layers = [
            nnx.Linear(num_in, num_out, use_bias=bias, rngs=rngs)
            for num_in, num_out in pairwise(widths)
        ]
        self.layers = nnx.List(layers)
        self.activation = _ACTIVATIONS[activation]

    def __call__(self, x: Array) -> Array:
        *hidden, last = self.layers
        x = flatten(x)
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)


def _build(config: Config, rngs: nnx.Rngs) -> Mlp:
    widths, activation = config["widths"], config["activation"]
    faults = []
    if len(widths) < 2:
        faults.append(f"widths needs inputs and outputs, such as {_DEFAULT_WIDTHS}, got {widths}.")
    elif math.prod(_input_shape(config)) != widths[0]:
        faults.append(f"input_shape {config['input_shape']} does not have {widths[0]} values.")
    if activation not in _ACTIVATIONS:
        faults.append(f"activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}.")
    if faults:
        raise ConversionError(f"arguments of mlp: {' '.join(faults)}")
    return Mlp(widths, config["bias"], activation, rngs)


def _infer(shapes: Shapes) -> Config:
    names = _layers(shapes)
    widths = _DEFAULT_WIDTHS
    if names:
        widths = (shapes[names[0]][1], *(shapes[name][0] for name in names))
    bias = any(_bias_of(name) in shapes for name in names)
    return {"widths": widths, "bias": bias, "activation": "relu", "input_shape": ()}


def _input_shape(config: Config) -> tuple[int, ...]:
    """As given, for inputs that are images; else one vector."""
    return config["input_shape"] or config["widths"][:1]


def _flattened(config: Config) -> dict[str, tuple[int, int, int]]:
    """PyTorch flattens colour images channel by channel."""
    shape = config["input_shape"]
    return {"layers.0": (shape[2], shape[0], shape[1])} if len(shape) == 3 else {}


def _renamed(shapes: Shapes) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for index, name in enumerate(_layers(shapes)):
        renamed |= {f"layers.{index}.weight": name, f"layers.{index}.bias": _bias_of(name)}
    return renamed


def _layers(shapes: Shapes) -> list[str]:
    """Names of the weight matrices, first layer first."""
    matrices = [n for n, shape in shapes.items() if len(shape) == 2 and n.endswith("weight")]
    names = [name for name in matrices if min(shapes[name]) > 0]
    orders = (_by_number(names), sorted(names, key=natural_order), names)
    return next((order for order in orders if _widths_match(order, shapes)), names)


def _by_number(names: list[str]) -> list[str]:
    """The same order, but names that differ in numbers only take their places by number."""
    kinds = [re.sub(r"\d+", "#", name) for name in names]
    members: dict[str, list[str]] = {}
    for kind, name in zip(kinds, names, strict=True):
        members.setdefault(kind, []).append(name)
    waiting = {kind: iter(sorted(group, key=natural_order)) for kind, group in members.items()}
    return [next(waiting[kind]) for kind in kinds]


def _widths_match(names: list[str], shapes: Shapes) -> bool:
    return all(shapes[one][0] == shapes[two][1] for one, two in pairwise(names))


def _bias_of(name: str) -> str:
    return name.removesuffix("weight") + "bias"


MLP = Architecture(
    name="mlp",
    build=_build,
    infer=_infer,
    input_shape=_input_shape,
    preprocessing=Preprocessing(),
    flattened=_flattened,
    renamed=_renamed,
    assumed=("activation", "input_shape"),
)
