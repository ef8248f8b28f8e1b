"""Lower precision where it pays: in the operands of matrix products and convolutions only.

Products are accumulated in float32 and returned in it, so biases, statistics and the objective
stay in float32.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.ops.rewrite import Rule
from jgaprune.types import Array


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
