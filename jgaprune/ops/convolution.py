"""Convolutions that become batched matrix products when every candidate has its own weights.

`vmap` turns a convolution over stacked kernels into a grouped one, which few backends run well.
Here it becomes one batched matrix product over patches instead. Where candidates share the input
(the first layer), all their kernels become one wide convolution, and where they share the kernel,
their inputs become one long batch: JAX's own rules do both, and are kept.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from jgaprune.types import Array


def matmul_convolution(inputs: Array, kernel: Array, **parameters: Any) -> Array:
    """A convolution that `vmap` turns into batched matrix products over patches.

    Grouped and transposed convolutions keep JAX's own rule.

    Args:
      inputs: laid out as `parameters` say.
      kernel: likewise.
      **parameters: those of the primitive `conv_general_dilated`.

    Returns:
      What the primitive returns; where it is batched, equal up to rounding.
    """
    plain = partial(jax.lax.conv_general_dilated_p.bind, **parameters)
    convolve = custom_vmap(plain)

    @convolve.def_vmap
    def _batched(
        size: int, batched: list[bool], inputs: Array, kernel: Array
    ) -> tuple[Array, bool]:
        if all(batched) and _is_ordinary(parameters):
            over_patches = partial(_over_patches, parameters=parameters)
            return jax.vmap(over_patches)(inputs, kernel), True
        axes = tuple(0 if one else None for one in batched)
        return jax.vmap(plain, in_axes=axes)(inputs, kernel), True

    return convolve(inputs, kernel)


def _is_ordinary(parameters: dict[str, Any]) -> bool:
    """Neither grouped nor transposed."""
    groups = parameters["feature_group_count"], parameters["batch_group_count"]
    return groups == (1, 1) and all(step == 1 for step in parameters["lhs_dilation"])


def _over_patches(inputs: Array, kernel: Array, parameters: dict[str, Any]) -> Array:
    """The convolution as one matrix product of patches `[N, ..., K]` and kernel `[K, O]`."""
    layout = parameters["dimension_numbers"]
    batch, feature, *spatial = layout.lhs_spec
    x = inputs.transpose(batch, *spatial, feature)
    out_features, in_features, *taps = layout.rhs_spec
    weights = kernel.transpose(*taps, in_features, out_features)
    y = jnp.matmul(
        patches(x, weights.shape[:-2], parameters),
        weights.reshape(-1, weights.shape[-1]),
        precision=parameters["precision"],
        preferred_element_type=parameters["preferred_element_type"],
    )
    batch, feature, *spatial = layout.out_spec
    places = (batch, *spatial, feature)
    return y.transpose(*(places.index(axis) for axis in range(y.ndim)))


def patches(x: Array, window: tuple[int, ...], parameters: dict[str, Any]) -> Array:
    """What an ordinary convolution multiplies its kernel with.

    Args:
      x: `[N, ..., I]`, features last.
      window: size of the kernel along the spatial axes.
      parameters: those of the primitive `conv_general_dilated`.

    Returns:
      `[N, ..., K]`, K running over the window's taps, then over I.
    """
    strides, dilation = parameters["window_strides"], parameters["rhs_dilation"]
    low_high = [(0, 0, 0), *((low, high, 0) for low, high in parameters["padding"]), (0, 0, 0)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), low_high)
    sizes = [
        (length - step * (taps - 1) - 1) // stride + 1
        for length, taps, stride, step in zip(x.shape[1:-1], window, strides, dilation, strict=True)
    ]
    parts = []
    for tap in np.ndindex(*window):
        starts = [place * step for place, step in zip(tap, dilation, strict=True)]
        ends = [
            start + (size - 1) * stride + 1
            for start, size, stride in zip(starts, sizes, strides, strict=True)
        ]
        parts.append(
            jax.lax.slice(x, (0, *starts, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1))
        )
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
