"""How much arithmetic a network needs, and how fast the machine does arithmetic at best."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.bench.timing import Runner
from jgaprune.ops import Rule, rewrite
from jgaprune.types import Array

_PEAK_SIZE = {"cpu": 1024}
_PEAK_SIZE_ELSEWHERE = 8192
"""Rows and columns of the product that a backend's speed is told from: a size it does well on."""
_COPIED_BYTES = 2**28


def count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations in the matrix products and convolutions of a function.

    A multiplication and an addition count as two. A convolution counts every tap at every output
    position, those that fall into its padding too. What is element by element does not count.

    Args:
      function: of arrays.
      *arguments: arrays, or their shapes (`jax.ShapeDtypeStruct`).

    >>> count_flops(jnp.matmul, jnp.ones((2, 3)), jnp.ones((3, 5)))
    60
    """
    return sum(flops for flops, _ in _products(function, *arguments))


def count_values(function: Callable[..., Any], *arguments: Any) -> int:
    """Values that the matrix products and convolutions of a function read and write.

    Both operands and the result of each count once: what has to move if the element-by-element
    rest is fused into them and nothing stays in a cache from one to the next. Arguments as in
    `count_flops`.

    >>> count_values(jnp.matmul, jnp.ones((2, 3)), jnp.ones((3, 5)))
    31
    """
    return sum(values for _, values in _products(function, *arguments))


def _products(function: Callable[..., Any], *arguments: Any) -> list[tuple[int, int]]:
    """Operations and values of each matrix product and convolution."""
    counted: list[tuple[int, int]] = []

    def product(first: Array, second: Array, **parameters: Any) -> Array:
        (contracted, _), _ = parameters["dimension_numbers"]
        result = jax.lax.dot_general_p.bind(first, second, **parameters)
        flops = 2 * result.size * math.prod(first.shape[axis] for axis in contracted)
        counted.append((flops, first.size + second.size + result.size))
        return result

    def convolution(inputs: Array, kernel: Array, **parameters: Any) -> Array:
        result = jax.lax.conv_general_dilated_p.bind(inputs, kernel, **parameters)
        outputs = kernel.shape[parameters["dimension_numbers"].rhs_spec[0]]
        flops = 2 * result.size * kernel.size // outputs
        counted.append((flops, inputs.size + kernel.size + result.size))
        return result

    rules: dict[str, Rule] = {"dot_general": product, "conv_general_dilated": convolution}
    jax.eval_shape(rewrite(function, rules), *arguments)
    return counted


def peak_product(dtype: str = "float32") -> tuple[Runner, int]:
    """A large square matrix product: a runner, and its floating-point operations."""
    size = _PEAK_SIZE.get(jax.default_backend(), _PEAK_SIZE_ELSEWHERE)
    first, second = jax.random.normal(jax.random.key(0), (2, size, size), dtype)
    multiply = jax.jit(jnp.matmul).lower(first, second).compile()
    return lambda: multiply(first, second).block_until_ready(), 2 * size**3


def peak_copy(num_bytes: int = _COPIED_BYTES) -> tuple[Runner, int]:
    """A large copy: a runner, and the bytes that it reads and writes.

    Into memory that is in use already: fresh pages would cost the operating system more time than
    the copy takes.
    """
    carried = [jnp.zeros(num_bytes // 4, jnp.uint32)]
    program = jax.jit(lambda x: x + 1, donate_argnums=0).lower(carried[0]).compile()

    def run() -> None:
        carried[0] = program(carried[0]).block_until_ready()

    return run, 2 * num_bytes
