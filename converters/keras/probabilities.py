"""Where a Keras model in memory turns logits into probabilities, and how to undo it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax.numpy as jnp

from jgaprune.converters.errors import ConversionError
from jgaprune.types import Array


class LastActivation(NamedTuple):
    """A softmax or sigmoid at the very end of a model.

    Attributes:
      layer: the layer that applies it.
      attribute: what of the layer does so.
      name: "softmax" or "sigmoid".
    """

    layer: Any
    attribute: str
    name: str


def last_activation(model: Any) -> LastActivation | None:
    """Finds the activation that makes a model's outputs; None if it can't be seen, or is another.

    Only in Sequential and Functional models the last layer is known.

    Raises:
      ConversionError: the model uses that layer in another place, too.
    """
    outputs = getattr(model, "outputs", None)
    if not outputs or len(outputs) != 1:
        return None
    tensor, graph, is_shared = outputs[0], model, False
    while True:
        layer, node = tensor._keras_history[:2]
        kind = type(layer).__name__
        is_shared |= _num_calls(graph, layer) > 1
        if getattr(layer, "outputs", None):
            tensor, graph = layer.outputs[0], layer
            continue
        if kind == "Softmax" and layer.axis in (-1, len(tensor.shape) - 1):
            return _alone(LastActivation(layer, "call", "softmax"), is_shared)
        name = getattr(getattr(layer, "activation", None), "__name__", "linear")
        if name in ("softmax", "sigmoid"):
            return _alone(LastActivation(layer, "activation", name), is_shared)
        if kind not in ("Dropout", "Identity", "Activation") or name != "linear":
            return None
        tensor = layer._inbound_nodes[node].arguments.keras_tensors[0]


def _num_calls(graph: Any, layer: Any) -> int:
    """How often a Sequential or Functional model calls one of its layers."""
    levels = getattr(getattr(graph, "_functional", None) or graph, "_nodes_by_depth", {})
    return sum(node.operation is layer for nodes in levels.values() for node in nodes)


def _alone(last: LastActivation, is_shared: bool) -> LastActivation:
    if is_shared:
        raise ConversionError(
            f"the {last.name} of layer {last.layer.name!r}, which makes the outputs, is used in "
            "another place of the model, too, so it can't be left out. Give the outputs a layer of "
            "their own, or pass a model that ends before it."
        )
    return last


@contextmanager
def replaced(layer: Any, attribute: str, function: Any) -> Iterator[None]:
    """Lets a layer use another function for a while; Keras's own tracking is passed by."""
    own = vars(layer)
    before = {attribute: own[attribute]} if attribute in own else {}
    own[attribute] = function
    try:
        yield
    finally:
        del own[attribute]
        own.update(before)


def unchanged(x: Array, *args: Any, **options: Any) -> Array:
    """Stands in for an activation or a call."""
    return x


def logarithm(probabilities: Array) -> Array:
    """Logits of which softmax gives the probabilities again; those below 1e-38 count as that."""
    tiny = jnp.finfo(probabilities.dtype).tiny
    return jnp.log(jnp.maximum(probabilities, tiny))


def sum_to_one(outputs: Array) -> bool:
    """Whether each row of outputs `[N, C]` looks like probabilities."""
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        return False
    return bool(jnp.all(outputs >= 0) & jnp.all(jnp.abs(outputs.sum(axis=1) - 1) < 1e-3))
