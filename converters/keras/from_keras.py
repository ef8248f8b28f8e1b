"""Keras models in memory, computed by Keras itself with its JAX backend.

`stateless_call` takes all variables as arguments, so the forward pass is pure. Batch-norm layers
are seen by standing in for their `call` while JAX traces it: inside a stateless call an
assignment to a variable holds for that call only.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.keras.backend import keras_on_jax
from jgaprune.converters.keras.network import both_classes
from jgaprune.converters.keras.probabilities import (
    LastActivation,
    last_activation,
    logarithm,
    replaced,
    sum_to_one,
    unchanged,
)
from jgaprune.converters.keras.variables import Variables, variables_of
from jgaprune.model import Model, Preprocessing
from jgaprune.model.forward import batch_statistics, norms_in_forward_order
from jgaprune.types import Array, Buffers, Norm, NormRecord, NormRule, Params


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class _Structure:
    """The Keras model and how its outputs become logits; hashes by identity, as the model does."""

    model: Any
    variables: Variables
    last: LastActivation | None
    takes_logarithm: bool


def from_keras(
    model: Any,
    *,
    input_shape: tuple[int, ...] | None = None,
    from_logits: bool | None = None,
    name: str | None = None,
    prunable: Callable[[str, Array], bool] | None = None,
    preprocessing: Preprocessing | None = None,
    vocabulary: int | None = None,
) -> Model:
    """A model from a Keras 3 model in memory, computed by Keras with its JAX backend.

    Sequential, functional and subclassed models work, in evaluation mode. The Keras model
    computes the forward pass and must live on; its variables are copied and not changed. Leaves
    are called like Keras's variables, with dots: `conv2d.kernel`; the statistics of batch-norm
    layers are `bn.mean` and `bn.var`. Frozen layers can be pruned like any others.

    Objectives compare logits. A softmax or sigmoid that is the last thing a Sequential or
    Functional model does is left out; a single sigmoid output of logit `z` becomes the logits
    `(0, z)` of two classes. Where a model's end can't be seen, as in subclassed ones, and its
    outputs are probabilities, their logarithm is taken, which has the same softmax.

    Args:
      model: one input `[N, ...]`, one output `[N, C]`; called once, so that its weights exist.
      input_shape: of one input, where the model doesn't tell.
      from_logits: whether the model returns logits, as Keras's losses call it; None to find out
        from its last layer or, where that can't be seen, from its outputs on noise.
      name: for reports; the Keras model's name by default.
      prunable: which leaves take part; by default kernels, but no biases, norms or embeddings.
      preprocessing: how stored images become inputs.
      vocabulary: how many tokens there are, where inputs are tokens.

    Raises:
      ConversionError: Keras isn't there or has another backend, the model has no weights yet or
        several inputs or outputs, or it trains in spite of `training=False`.
      ValueError: the output is not `[N, C]` or nothing is prunable.
    """
    keras = keras_on_jax()
    shape = _input_shape(keras, model, input_shape)
    variables = variables_of(model)
    last = None if from_logits else last_activation(model)
    structure = _Structure(model, variables, last, from_logits is False and last is None)
    noise = jax.random.normal(jax.random.key(0), (2, *shape))
    inputs = noise if vocabulary is None else jnp.zeros((2, *shape), jnp.int32)
    params, buffers = variables.params, variables.buffers
    _check_evaluates(structure, params, buffers, inputs)
    if from_logits is None and last is None:
        outputs = _apply(structure, params, buffers, inputs)
        structure = replace(structure, takes_logarithm=sum_to_one(outputs))
    apply, observe = Partial(_apply, structure), Partial(_observe, structure)
    plain = Model.from_fn(
        lambda params, inputs: apply(params, buffers, inputs),
        params,
        shape,
        name=name or str(model.name),
        prunable=prunable,
        preprocessing=preprocessing,
        vocabulary=vocabulary,
    )
    shapes = jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)
    norms = norms_in_forward_order(observe, params, buffers, shapes)
    spec = replace(plain.spec, norms=norms)
    return Model(apply, params, buffers, spec, observe if norms else None)


def to_keras(model: Any, params: Params, buffers: Buffers) -> list[np.ndarray]:
    """Weights for `set_weights` of a Keras model that `from_keras` was given.

    Args:
      model: the Keras model: `model.set_weights(to_keras(model, params, buffers))`.
      params: for example pruned and repaired ones, by leaf name.
      buffers: the same for statistics.

    Returns:
      Arrays in the order and types of `model.weights`.

    Raises:
      ConversionError: arrays are missing or misshapen; lists all.
    """
    variables = variables_of(model)
    leaves = {**params, **buffers}
    names = [variables.names[id(variable)] for variable in model.weights]
    faults = [
        f"{leaf}: expected {list(variable.shape)}, got "
        + (str(list(leaves[leaf].shape)) if leaf in leaves else "nothing")
        for leaf, variable in zip(names, model.weights, strict=True)
        if leaf not in leaves or tuple(leaves[leaf].shape) != tuple(variable.shape)
    ]
    if faults:
        raise ConversionError(
            f"these are not the weights of the Keras model {model.name!r}: {'; '.join(faults)}."
        )
    return [np.asarray(leaves[leaf]) for leaf in names]


def _input_shape(keras: Any, model: Any, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one input, of a model whose weights exist."""
    if not isinstance(model, keras.Model):
        raise ConversionError(f"from_keras takes a keras.Model, got {type(model).__name__}.")
    own = getattr(model, "inputs", None) or []
    outputs = getattr(model, "outputs", None) or []
    if len(own) > 1 or len(outputs) > 1:
        raise ConversionError(
            f"{model.name!r} has {len(own)} inputs and {len(outputs)} outputs; from_keras takes "
            "one of each. Cut it: keras.Model(input, output)."
        )
    if not model.built or not model.weights:
        raise ConversionError(
            f"{model.name!r} has no weights yet. Load its weights, or call it once on some inputs."
        )
    shape = tuple(given) if given is not None else tuple(own[0].shape[1:]) if own else None
    if shape is None or None in shape:
        raise ConversionError(
            f"the shape of one input of {model.name!r} is {shape}. Give it: "
            "from_keras(model, input_shape=(32, 32, 3))."
        )
    return shape


def _call(
    structure: _Structure, params: Params, buffers: Buffers, inputs: Array
) -> tuple[Array, list[bool]]:
    """Logits, and whether the call changed each variable that isn't trained."""
    model, names = structure.model, structure.variables.names
    leaves = {**params, **buffers}
    trained = [leaves[names[id(v)]] for v in model.trainable_variables]
    others = [
        leaves[names[id(v)]] if id(v) in names else jnp.asarray(v.value)
        for v in model.non_trainable_variables
    ]
    with ExitStack() as stack:
        if structure.last is not None:
            layer, attribute, _ = structure.last
            stack.enter_context(replaced(layer, attribute, unchanged))
        outputs, after = model.stateless_call(trained, others, inputs, **_evaluation(model))
    changed = [new is not old for new, old in zip(after, others, strict=True)]
    outputs = logarithm(outputs) if structure.takes_logarithm else outputs
    if structure.last is not None and structure.last.name == "sigmoid":
        outputs = both_classes(outputs)
    return outputs, changed


def _evaluation(model: Any) -> dict[str, bool]:
    """How to ask for evaluation mode; models whose `call` has no mode never train in it."""
    return {"training": False} if "training" in signature(model.call).parameters else {}


def _apply(structure: _Structure, params: Params, buffers: Buffers, inputs: Array) -> Array:
    return _call(structure, params, buffers, inputs)[0]


def _check_evaluates(
    structure: _Structure, params: Params, buffers: Buffers, inputs: Array
) -> None:
    """Refuses a model that updates statistics or draws random numbers all the same."""
    found: list[str] = []

    def trace(params: Params, buffers: Buffers, inputs: Array) -> Array:
        outputs, changed = _call(structure, params, buffers, inputs)
        variables = structure.model.non_trainable_variables
        found.extend(v.path for v, new in zip(variables, changed, strict=True) if new)
        return outputs

    jax.eval_shape(trace, params, buffers, inputs)
    if found:
        raise ConversionError(
            f"a forward pass with training=False changes {', '.join(found)}: a layer is called "
            "with training=True inside the model. Call it without."
        )


def _observe(
    structure: _Structure, params: Params, buffers: Buffers, inputs: Array, rule: NormRule
) -> tuple[Array, dict[str, NormRecord]]:
    records: dict[str, NormRecord] = {}
    with ExitStack() as stack:
        for name, layer in structure.variables.norms.items():
            stand_in = partial(_normalise, layer, layer.call, name, rule, records)
            stack.enter_context(replaced(layer, "call", stand_in))
        return _apply(structure, params, buffers, inputs), records


def _normalise(
    layer: Any,
    call: Callable[..., Array],
    name: str,
    rule: NormRule,
    records: dict[str, NormRecord],
    inputs: Array,
    **options: Any,
) -> Array:
    """Stands in for a batch-norm layer's `call`: the same with the statistics of the rule."""
    batch = batch_statistics(inputs, layer.axis)
    stored = Norm(jnp.asarray(layer.moving_mean.value), jnp.asarray(layer.moving_variance.value))
    used = rule(name, batch, stored)
    layer.moving_mean.assign(used.mean)
    layer.moving_variance.assign(used.var)
    records[name] = NormRecord(batch, used)
    return call(inputs, **options)
