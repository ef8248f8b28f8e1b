"""Rewriting: run a function with some of its primitive operations replaced by others.

The function is traced for one candidate and its program is evaluated anew, operation by
operation. So a network that knows nothing of populations, written in Flax NNX, Linen or plain
JAX, gets other convolutions without a change to its code.

What masks do to weights is kept as one operation, so that a rule may compute it together with
the product that it goes into.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from jgaprune.masks import MASKING, jgaprune_masked
from jgaprune.types import Array

Rule = Callable[..., Array]
"""`operands, **parameters of the primitive -> result`."""

_INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "eval_jaxpr": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Operations that only wrap a program, and the parameter that holds it."""


class Masked(NamedTuple):
    """Masked weights that nothing has asked for yet.

    Attributes:
      weights: any shape.
      mask: bool, of the same shape.
    """

    weights: Array
    mask: Array


def rewrite(
    function: Callable[..., Any],
    rules: dict[str, Rule],
    masked_rules: dict[str, Rule] | None = None,
) -> Callable[..., Any]:
    """The same function with some primitives computed by other rules.

    Rules reach into functions that are jitted, rematerialised or have derivatives of their own
    (which get lost), but not into the bodies of `scan`, `while_loop` and `cond`.

    Args:
      function: pytrees of arrays in, pytrees of arrays out.
      rules: by the name of the primitive.
      masked_rules: likewise, for where the second of two operands is masked weights
        (`masks.apply_masks`); called with the first, the weights and the mask.

    Returns:
      A function of the same arguments.

    >>> double = rewrite(jax.numpy.sin, {"sin": lambda x, **_: 2 * x})
    >>> float(double(3.0))
    6.0
    """

    all_rules = _Rules(rules, masked_rules or {})

    def rewritten(*arguments: Any) -> Any:
        program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        results = _evaluate(program, jax.tree.leaves(arguments), all_rules)
        return jax.tree.unflatten(jax.tree.structure(shapes), map(_computed, results))

    return rewritten


def bound(program: ClosedJaxpr, arguments: Sequence[Any]) -> dict[Var, Any]:
    """The values of a program's variables before its first operation."""
    variables = (*program.jaxpr.constvars, *program.jaxpr.invars)
    return dict(zip(variables, (*program.consts, *arguments), strict=True))


def read(values: dict[Var, Any], variable: Any) -> Any:
    """What an operand of an equation is: a literal, or a value computed before."""
    return variable.val if isinstance(variable, Literal) else values[variable]


def inner_program(equation: Any) -> ClosedJaxpr | None:
    """The program of an operation that only wraps one."""
    parameter = _INLINED.get(equation.primitive.name)
    if parameter is None or _is_masking(equation):
        return None
    program: Jaxpr | ClosedJaxpr = equation.params[parameter]
    return program if isinstance(program, ClosedJaxpr) else ClosedJaxpr(program, [])


def bind(equation: Any, operands: Sequence[Any]) -> Sequence[Any]:
    """The results of an operation as it is."""
    results = equation.primitive.bind(
        *operands, **equation.primitive.get_bind_params(equation.params)
    )
    return results if equation.primitive.multiple_results else [results]


class _Rules(NamedTuple):
    plain: dict[str, Rule]
    masked: dict[str, Rule]


def _evaluate(program: ClosedJaxpr, arguments: Sequence[Any], rules: _Rules) -> list[Any]:
    jaxpr = program.jaxpr
    values = bound(program, arguments)
    for equation in jaxpr.eqns:
        results = _apply(equation, [read(values, v) for v in equation.invars], rules)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(values, v) for v in jaxpr.outvars]


def _apply(equation: Any, operands: list[Any], rules: _Rules) -> Sequence[Any]:
    name = equation.primitive.name
    if _is_masking(equation):
        return [Masked(*map(_computed, operands))]
    if name in rules.masked and isinstance(operands[1], Masked):
        return [rules.masked[name](_computed(operands[0]), *operands[1], **equation.params)]
    inner = None if name in rules.plain else inner_program(equation)
    if inner:
        if equation.params.get("differentiated") and equation.params.get("prevent_cse", True):
            # A rematerialised part of a gradient, which must not merge with the forward pass.
            operands = jax.lax.optimization_barrier([_computed(one) for one in operands])
        return _evaluate(inner, operands, rules)
    operands = [_computed(operand) for operand in operands]
    if name in rules.plain:
        return [rules.plain[name](*operands, **equation.params)]
    return bind(equation, operands)


def _is_masking(equation: Any) -> bool:
    """Whether the operation is a call of `jgaprune_masked`, and not one of its derivatives."""
    if equation.primitive.name not in ("jit", "pjit") or equation.params["name"] != MASKING:
        return False
    if len(equation.invars) != 2 or len(equation.outvars) != 1:
        return False
    weights, mask, result = (one.aval for one in (*equation.invars, *equation.outvars))
    is_like_weights = (result.shape, result.dtype) == (weights.shape, weights.dtype)
    return is_like_weights and mask.dtype == bool


def _computed(value: Any) -> Any:
    return jgaprune_masked(*value) if isinstance(value, Masked) else value
