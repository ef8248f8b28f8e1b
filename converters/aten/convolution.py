"""Convolutions over channels-first activations, with kernels in Flax layout."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array


def _convolution(
    x: Array,
    kernel: Array,
    bias: Array | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Array:
    """`x [N, I, ...]` and `kernel [..., I / groups, O]`; transposed, `[..., I, O / groups]`."""
    num_axes = kernel.ndim - 2
    strides, dilations = per_axis(stride, num_axes), per_axis(dilation, num_axes)
    around = per_axis(padding, num_axes)
    sides = [(before, before) for before in around]
    input_dilations = (1,) * num_axes
    if transposed:
        kernel = _turned(kernel, groups)
        reach = [d * (k - 1) for d, k in zip(dilations, kernel.shape, strict=False)]
        extra = per_axis(output_padding, num_axes)
        sides = [(r - p, r - p + e) for r, p, e in zip(reach, around, extra, strict=True)]
        strides, input_dilations = input_dilations, strides
    axes = "DHW"[-num_axes:]
    # XLA on CPU runs convolutions with channels first at a fraction of the speed inside of loops,
    # in which populations are evaluated. Between layers it cancels the transpositions.
    y = jax.lax.conv_general_dilated(
        jnp.moveaxis(x, 1, -1),
        kernel,
        strides,
        sides,
        lhs_dilation=input_dilations,
        rhs_dilation=dilations,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
    )
    return jnp.moveaxis(y if bias is None else y + bias, -1, 1)


def _turned(kernel: Array, groups: int) -> Array:
    """The kernel of a transposed convolution as that of an ordinary one over spread inputs."""
    *window, num_in, num_out = kernel.shape
    kernel = jnp.flip(kernel, range(len(window)))
    kernel = kernel.reshape(*window, groups, num_in // groups, num_out)
    return jnp.moveaxis(kernel, -3, -2).reshape(*window, num_in // groups, groups * num_out)


def per_axis(values: int | Sequence[int], num_axes: int) -> tuple[int, ...]:
    """One value for each spatial axis, where one may be given for all."""
    values = (values,) if isinstance(values, int) else tuple(values)
    return values * num_axes if len(values) == 1 else values


OPERATORS: dict[str, Callable[..., Any]] = {"convolution.default": _convolution}
