"""Gradients of losses, as fast as the backend computes them."""

from collections.abc import Callable
from typing import Any

import jax

from jgaprune.ops import convolution_in_parts, rewrite

_RULES = {"conv_general_dilated": convolution_in_parts}


def gradient_of(loss: Callable[..., jax.Array]) -> Callable[..., Any]:
    """What `jax.grad(loss)` computes, up to rounding; on a CPU, gradients of kernels in parts.

    Args:
      loss: `pytree of arrays, *other arrays -> loss []`.

    Returns:
      A function of the same arguments, pytrees of arrays all of them.
    """
    gradient = jax.grad(loss)
    return rewrite(gradient, _RULES) if jax.default_backend() == "cpu" else gradient
