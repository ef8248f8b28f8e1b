"""What is known of one class of Keras layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx

from jgaprune.converters.keras.saved import Config
from jgaprune.converters.leaves import Shape
from jgaprune.types import Array

Shapes = dict[str, Shape]
"""Shapes in the file by Keras's names of weights."""


class Weight(NamedTuple):
    """One weight of a layer, in the order of files.

    Attributes:
      name: Keras's.
      leaf: the leaf of the NNX layer that it becomes, or "" if it isn't needed.
      num_axes: how many axes it must have; None for any number.
    """

    name: str
    leaf: str
    num_axes: int | None


class Kind(NamedTuple):
    """How a class of layers is made and computed; channels last, in evaluation mode.

    Attributes:
      compute: `config, module, *inputs -> output` before the activation; the module is None
        where the layer has no weights.
      weights: `config -> ` its weights.
      build: `config, shapes, rngs -> module`; None where there are no weights.
      faults: `config -> ` what of it isn't supported, a phrase each.
    """

    compute: Callable[..., Array]
    weights: Callable[[Config], list[Weight]] = lambda config: []
    build: Callable[[Config, Shapes, nnx.Rngs], Any] | None = None
    faults: Callable[[Config], list[str]] = lambda config: []


def apply_module(config: Config, module: Any, x: Array) -> Array:
    """Computes a layer that is an NNX layer."""
    output: Array = module(x)
    return output


def channels_last(config: Config) -> list[str]:
    """The fault of a layer whose channels come first, if it is one."""
    order = config.get("data_format") or "channels_last"
    return [] if order == "channels_last" else [f"data_format {order!r:.30}"]
