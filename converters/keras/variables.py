"""The variables of a Keras model by the names of their leaves."""

from collections import Counter
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jgaprune.converters.errors import ConversionError
from jgaprune.types import Array

_LEAF_OF = {"moving_mean": "mean", "moving_variance": "var"}


class Variables(NamedTuple):
    """All weights of a model, and what else it remembers.

    Attributes:
      names: leaf name of each weight by the identity of its variable.
      params: weights that can be trained, frozen ones too.
      buffers: statistics and other weights that no gradient changes.
      norms: name of each batch-norm layer, and the layer.
    """

    names: dict[int, str]
    params: dict[str, Array]
    buffers: dict[str, Array]
    norms: dict[str, Any]


def variables_of(model: Any) -> Variables:
    """Takes stock of a model whose weights exist.

    A leaf is called like its variable's path, with dots, such as `conv2d.kernel`; statistics end
    in `mean` and `var`. Second and later variables of one path get `_1`, `_2`, ...
    """
    if not hasattr(model, "weights"):
        raise ConversionError(
            f"expected the Keras model itself, got {type(model).__module__}.{type(model).__name__}."
        )
    names, seen = {}, Counter[str]()
    for variable in model.weights:
        name = _leaf_name(variable.path)
        names[id(variable)] = f"{name}_{seen[name]}" if seen[name] else name
        seen[name] += 1
    layers = model._flatten_layers()
    fixed = {id(variable) for layer in layers for variable in layer._non_trainable_variables}
    arrays = {names[id(v)]: (id(v) in fixed, jnp.asarray(np.asarray(v))) for v in model.weights}
    return Variables(
        names,
        {name: array for name, (is_fixed, array) in arrays.items() if not is_fixed},
        {name: array for name, (is_fixed, array) in arrays.items() if is_fixed},
        {
            names[id(layer.moving_mean)].removesuffix(".mean"): layer
            for layer in layers
            if type(layer).__name__ == "BatchNormalization" and layer.built
        },
    )


def _leaf_name(path: str) -> str:
    *layer, last = path.split("/")
    return ".".join([*layer, _LEAF_OF.get(last, last)])
