"""Convolutions and dense layers as what they are: matrix products over rows of inputs.

Least squares asks of a layer for its rows `[groups, M, K]` and its weights as matrices
`[groups, K, O]`. A dense layer or an ordinary convolution has one group; the rows of a
convolution are its patches.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.ops.convolution import patches
from jgaprune.types import Array

_ENOUGH = 32
"""Rows per unknown; more of them, from neighbouring places, add little but time."""
_FEWEST_PLACES = 16
"""Places of one input that are looked at at least, where it has so many."""


class Product(NamedTuple):
    """One product of inputs and weights in a program.

    Attributes:
      rows: `inputs, every=1 -> [groups, M, K]`; with `every`, only those at each so-manieth place
        along every spatial axis of the output.
      matrix: `weights -> [groups, K, O]`.
      unmatrix: the inverse of `matrix`.
      num_places: outputs of one input along the spatial axes, and how many axes these are.
    """

    rows: Callable[..., Array]
    matrix: Callable[[Array], Array]
    unmatrix: Callable[[Array], Array]
    num_places: tuple[int, int]


def product_of(
    equation: Any, inputs: jax.ShapeDtypeStruct, weights: jax.ShapeDtypeStruct
) -> Product | None:
    """The product that an operation with weights as its second operand is, if it is one.

    Transposed convolutions, and products in which inputs and weights share a batch axis, are not
    taken apart: None.
    """
    if equation.primitive.name == "dot_general":
        return _dense(equation, inputs, weights)
    if equation.primitive.name == "conv_general_dilated":
        return _convolution(equation, inputs, weights)
    return None


def enough_rows(product: Product, inputs: Array) -> Array:
    """The rows of a product, at so many places as determine its weights well.

    Args:
      product: of a program.
      inputs: that enter it there.

    Returns:
      `float32 [groups, M, K]`; the places of an output are evenly spaced, at least 16 per input
      where it has so many, and together about 32 rows per unknown where there are more.
    """
    places, num_axes = product.num_places
    every = 1
    if num_axes:
        num_unknowns = jax.eval_shape(product.rows, inputs).shape[-1]
        spare = inputs.shape[0] * places / (_ENOUGH * num_unknowns)
        every = max(1, int(min(spare, places / _FEWEST_PLACES) ** (1 / num_axes)))
    return product.rows(inputs, every).astype(jnp.float32)


def _dense(equation: Any, inputs: Any, weights: Any) -> Product | None:
    (in_axes, weight_axes), (batch_axes, _) = equation.params["dimension_numbers"]
    if batch_axes:
        return None
    row_axes = [axis for axis in range(inputs.ndim) if axis not in in_axes]
    column_axes = [axis for axis in range(weights.ndim) if axis not in weight_axes]
    order = (*weight_axes, *column_axes)
    ordered = [weights.shape[axis] for axis in order]
    num_inputs = math.prod(inputs.shape[axis] for axis in in_axes)
    num_outputs = math.prod(weights.shape[axis] for axis in column_axes)
    back = [order.index(axis) for axis in range(weights.ndim)]
    return Product(
        rows=lambda x, every=1: x.transpose(*row_axes, *in_axes).reshape(1, -1, num_inputs),
        matrix=lambda w: w.transpose(*order).reshape(1, num_inputs, num_outputs),
        unmatrix=lambda m: m.reshape(ordered).transpose(*back),
        num_places=(1, 0),
    )


def _convolution(equation: Any, inputs: Any, weights: Any) -> Product | None:
    parameters = equation.params
    groups = parameters["feature_group_count"]
    if parameters["batch_group_count"] != 1 or any(s != 1 for s in parameters["lhs_dilation"]):
        return None
    layout = parameters["dimension_numbers"]
    out_features, in_features, *taps = layout.rhs_spec
    order = (*taps, in_features, out_features)
    window = tuple(weights.shape[axis] for axis in taps)
    per_group, num_out = weights.shape[in_features], weights.shape[out_features]
    num_rows_in = math.prod(window) * per_group
    split = (*window, per_group, groups, num_out // groups)
    back = [order.index(axis) for axis in range(weights.ndim)]
    batch, feature, *spatial = layout.lhs_spec

    def rows(x: Array, every: int = 1) -> Array:
        x = x.transpose(batch, *spatial, feature)
        x = jnp.moveaxis(x.reshape(*x.shape[:-1], groups, per_group), -2, 0)
        strides = tuple(every * stride for stride in parameters["window_strides"])
        seen = {**parameters, "window_strides": strides}
        found = jax.vmap(lambda one: patches(one, window, seen))(x)
        return found.reshape(groups, -1, num_rows_in)

    def matrix(w: Array) -> Array:
        joined = jnp.moveaxis(w.transpose(*order).reshape(split), -2, 0)
        return joined.reshape(groups, num_rows_in, num_out // groups)

    def unmatrix(m: Array) -> Array:
        joined = m.reshape(groups, *window, per_group, num_out // groups)
        joined = jnp.moveaxis(joined, 0, -2).reshape(*window, per_group, num_out)
        return joined.transpose(*back)

    outputs = equation.outvars[0].aval.shape
    places = math.prod(outputs[axis] for axis in layout.out_spec[2:])
    return Product(rows, matrix, unmatrix, (places, len(spatial)))
