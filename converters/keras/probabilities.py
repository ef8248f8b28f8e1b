"""Where a Keras model in memory turns logits into probabilities, and how to undo it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax.numpy as jnp

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
    """
    outputs = getattr(model, "outputs", None)
    if not outputs or len(outputs) != 1:
        return None
    tensor = outputs[0]
    while True:
        layer, node = tensor._keras_history[:2]
        kind = type(layer).__name__
        if getattr(layer, "outputs", None):
            tensor = layer.outputs[0]
            continue
        if kind == "Softmax" and layer.axis in (-1, len(tensor.shape) - 1):
            return LastActivation(layer, "call", "softmax")
        name = getattr(getattr(layer, "activation", None), "__name__", "linear")
        if name in ("softmax", "sigmoid"):
            return LastActivation(layer, "activation", name)
        if kind not in ("Dropout", "Identity", "Activation") or name != "linear":
            return None
        tensor = layer._inbound_nodes[node].arguments.keras_tensors[0]


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
