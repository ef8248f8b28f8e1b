"""Hoisting: what no candidate changes is computed once, before the population is mapped over.

A search over late layers leaves the activations of the early ones alone; everything that only
depends on the dense network is the same for all. Compilers leave such work inside of a loop when
its results are large, so it is moved out here, operation by operation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr

from jgaprune.ops.rewrite import bind, bound, inner_program, read

_CHEAP = frozenset({"broadcast_in_dim", "iota", "convert_element_type", "reshape"})
"""Computed again where they are needed: their results only take memory."""
_UNKNOWN = object()

_Place = tuple[int, ...]
"""Index of an operation in its program, behind those of the operations that it is within."""


def hoisted(function: Callable[..., Any], *examples: Any) -> Callable[..., Any]:
    """The same function, with all that does not depend on its arguments computed already.

    Args:
      function: pytrees of arrays in, pytrees of arrays out.
      *examples: arguments, or their shapes (`jax.ShapeDtypeStruct`).

    Returns:
      A function of arguments like the examples.

    >>> import jax.numpy as jnp
    >>> late = hoisted(lambda x: x + jnp.sin(jnp.ones(2)), jnp.zeros(2))
    >>> "sin" in str(jax.make_jaxpr(late)(jnp.zeros(2)))
    False
    """
    program, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)
    known: dict[_Place, Sequence[Any]] = {}
    _compute_known(program, [_UNKNOWN] * len(program.jaxpr.invars), (), known)

    def rest(*arguments: Any) -> Any:
        results = _compute_rest(program, jax.tree.leaves(arguments), (), known)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return rest


def _compute_known(
    program: ClosedJaxpr,
    arguments: Sequence[Any],
    place: _Place,
    known: dict[_Place, Sequence[Any]],
) -> list[Any]:
    """Computes what needs no unknown value, and keeps what is not cheap in `known`."""
    jaxpr = program.jaxpr
    values = bound(program, arguments)
    for index, equation in enumerate(jaxpr.eqns):
        operands = [read(values, variable) for variable in equation.invars]
        here = (*place, index)
        if all(operand is not _UNKNOWN for operand in operands) and not equation.effects:
            results = bind(equation, operands)
            if equation.primitive.name not in _CHEAP:
                known[here] = results
        elif inner := inner_program(equation):
            results = _compute_known(inner, operands, here, known)
        else:
            results = [_UNKNOWN] * len(equation.outvars)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(values, variable) for variable in jaxpr.outvars]


def _compute_rest(
    program: ClosedJaxpr,
    arguments: Sequence[Any],
    place: _Place,
    known: dict[_Place, Sequence[Any]],
) -> list[Any]:
    jaxpr = program.jaxpr
    values = bound(program, arguments)
    for index, equation in enumerate(jaxpr.eqns):
        here = (*place, index)
        if here in known:
            results = known[here]
        else:
            operands = [read(values, variable) for variable in equation.invars]
            inner = inner_program(equation)
            results = (
                _compute_rest(inner, operands, here, known) if inner else bind(equation, operands)
            )
        values.update(zip(equation.outvars, results, strict=True))
    return [read(values, variable) for variable in jaxpr.outvars]
