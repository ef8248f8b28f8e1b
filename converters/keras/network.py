"""A saved Keras model as an NNX module: its layers with weights, and the steps of its graph."""

import json
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.keras.activations import ACTIVATIONS
from jgaprune.converters.keras.graph import INPUT
from jgaprune.converters.keras.kind import Kind
from jgaprune.converters.keras.plain_layers import PLAIN
from jgaprune.converters.keras.saved import Value
from jgaprune.converters.keras.weighted_layers import WEIGHTED
from jgaprune.types import Array

KINDS: dict[str, Kind] = {**WEIGHTED, **PLAIN}
"""All supported layers by Keras's class names."""


@dataclass(frozen=True)
class Step:
    """One call of one layer. Hashes by value, so equal networks share compiled programs.

    Attributes:
      output: what it makes.
      layer: path of the layer.
      class_name: of `KINDS`.
      config: its arguments as JSON.
      activation: applied last, a name of `ACTIVATIONS`.
      inputs: what it takes.
    """

    output: Value
    layer: str
    class_name: str
    config: str
    activation: str
    inputs: tuple[Value, ...]


class KerasNetwork(nnx.Module):
    """`[N, ...] -> logits [N, C]`.

    Args:
      layers: NNX layers by path.
      steps: in the order of computing; the last makes the output.
      ended_in_sigmoid: whether a single output is the logit of the second of two classes.
    """

    def __init__(self, layers: dict[str, Any], steps: tuple[Step, ...], ended_in_sigmoid: bool):
        self.layers = nnx.Dict(layers)
        self.steps = nnx.static(steps)
        self.ended_in_sigmoid = ended_in_sigmoid

    def __call__(self, x: Array) -> Array:
        """Computes all steps in order."""
        values = {INPUT: x}
        output = x
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            module = self.layers.get(step.layer)
            output = KINDS[step.class_name].compute(json.loads(step.config), module, *inputs)
            output = values[step.output] = ACTIVATIONS[step.activation](output)
        return both_classes(output) if self.ended_in_sigmoid else output


def both_classes(logit: Array) -> Array:
    """Logits `[N, 2]` of two classes from the logit `[N, 1]` of the second; others as they are.

    The probabilities are the same: softmax of `(0, z)` is `(1 - sigmoid(z), sigmoid(z))`.
    """
    if logit.shape[-1] != 1:
        return logit
    return jnp.concatenate([jnp.zeros_like(logit), logit], axis=-1)
