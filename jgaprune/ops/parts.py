"""Convolutions over many features, computed in parts that stay in a CPU's cache.

The gradient of a convolution with respect to its kernel is a convolution itself: inputs take the
place of features, and its window is as large as an image. XLA's CPU backend walks over all patches
of it at once, and is faster over a few inputs at a time (`benchmarks/gradients.py`).
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.types import Array

_CACHED_ELEMENTS = 2**21
"""Elements of the patches of one part: of 2^17 to 2^22 the fastest on two cores of a Xeon."""
_MOST_PARTS = 16
"""Programs of more take long to compile."""


def convolution_in_parts(inputs: Array, kernel: Array, **parameters: Any) -> Array:
    """A convolution as the sum of convolutions over parts of the input features.

    Only where the window holds more positions than the result. That is so in most gradients with
    respect to kernels and in few other convolutions, whose results are as right.

    Args:
      inputs: laid out as `parameters` say.
      kernel: likewise.
      **parameters: those of the primitive `conv_general_dilated`. Grouped ones are not taken apart.

    Returns:
      What the primitive returns, up to rounding; parts are added in float32 at least.
    """
    layout = parameters["dimension_numbers"]
    input_axis, kernel_axis = layout.lhs_spec[1], layout.rhs_spec[1]

    def convolve(inputs: Array, kernel: Array, **changes: Any) -> Array:
        return jax.lax.conv_general_dilated_p.bind(inputs, kernel, **{**parameters, **changes})

    result = jax.eval_shape(convolve, inputs, kernel)
    num_features = _features_per_part(inputs, kernel, result, parameters)
    places = list(range(num_features, inputs.shape[input_axis], num_features))
    if not places:
        return convolve(inputs, kernel)
    exact: dict[str, Any] = {}
    if jnp.issubdtype(result.dtype, jnp.floating):
        exact["preferred_element_type"] = np.dtype(jnp.promote_types(result.dtype, jnp.float32))
    pairs = zip(
        jnp.split(inputs, places, input_axis), jnp.split(kernel, places, kernel_axis), strict=True
    )
    return reduce(jnp.add, (convolve(*pair, **exact) for pair in pairs)).astype(result.dtype)


def _features_per_part(
    inputs: Array, kernel: Array, result: jax.ShapeDtypeStruct, parameters: dict[str, Any]
) -> int:
    """Input features per part; all of them, and one at least, where there is to be one part."""
    layout = parameters["dimension_numbers"]
    features = max(1, inputs.shape[layout.lhs_spec[1]])
    groups = parameters["feature_group_count"], parameters["batch_group_count"]
    window = _num_positions(kernel, layout.rhs_spec)
    positions = _num_positions(result, layout.out_spec)
    per_feature = result.shape[layout.out_spec[0]] * positions * window
    if groups != (1, 1) or window <= positions or not 0 < per_feature <= _CACHED_ELEMENTS:
        return features
    num_parts = min(_MOST_PARTS, -(-features // (_CACHED_ELEMENTS // per_feature)))
    return -(-features // num_parts)


def _num_positions(array: Array | jax.ShapeDtypeStruct, layout: Sequence[int]) -> int:
    """Of an array laid out as batch, features, then space."""
    return int(np.prod([array.shape[axis] for axis in layout[2:]]))
