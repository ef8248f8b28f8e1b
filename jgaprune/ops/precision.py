"""How precise matrix products are: less where it pays, and in full where an equation is solved.

Lower precision is for the operands of products and convolutions only; they are accumulated in
float32 and returned in it, so biases, statistics and the objective stay in float32.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.ops.rewrite import Rule
from jgaprune.types import Array

exact_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
"""A product in full float32, for Gram matrices and what is solved with them.

GPUs and TPUs round the operands of float32 products to 10 or 7 bits by default, which a network's
forward pass hardly notices, and an ill-conditioned least squares problem does.
"""


def lowered(compute: Rule, dtype: Any) -> Rule:
    """The rule `compute` for float32 operands in a smaller type; other operands stay as they are.

    Args:
      compute: a rule for `dot_general` or `conv_general_dilated`, masked or not.
      dtype: for example `jnp.bfloat16`.
    """

    def rule(first: Array, second: Array, *mask: Array, **parameters: Any) -> Array:
        if first.dtype == second.dtype == jnp.float32:
            first, second = first.astype(dtype), second.astype(dtype)
            parameters["preferred_element_type"] = jnp.dtype(jnp.float32)
        return compute(first, second, *mask, **parameters)

    return rule


def lowered_rules(dtype: str) -> dict[str, Rule]:
    """Rules for all matrix products and convolutions; none for float32."""
    if dtype == "float32":
        return {}
    return {
        "dot_general": lowered(jax.lax.dot_general_p.bind, dtype),
        "conv_general_dilated": lowered(jax.lax.conv_general_dilated_p.bind, dtype),
    }
