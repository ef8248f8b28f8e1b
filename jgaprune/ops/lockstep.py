"""Lockstep: one program on two sets of weights at once, the dense and the pruned.

Both networks go through the program operation by operation, side by side, so that at every layer
a rule may look at what each of them gets there and choose new weights or statistics for the
pruned one, before the layers behind see them. Nothing is computed twice where both are the same,
and no more activations are alive than in two forward passes.

A gain is decided where its products are used, not where it is multiplied: norms multiply it into
the reciprocal deviation of an input before any channel is seen, and only what comes behind says
whether a bias follows.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr

from jgaprune.ops.linear import Product, product_of
from jgaprune.ops.operands import VIEWS, Parameter, Scaled, bind_both
from jgaprune.ops.rewrite import bound, inner_program, read
from jgaprune.ops.rules import Both, Gain, Rules
from jgaprune.types import Array, Params

NORMALISING = "jgaprune_statistics"


@jax.jit
def jgaprune_statistics(
    mean: Array, var: Array, stored_mean: Array, stored_var: Array
) -> tuple[Array, Array]:
    """The stored statistics; jitted, so that a lockstep knows the place by its name."""
    return stored_mean, stored_var


def in_lockstep(
    function: Callable[..., Any],
    rules: Rules,
    dense: Params,
    pruned: Params,
    rest: Both,
) -> tuple[Any, Params]:
    """Runs a function on both sets of parameters side by side.

    Args:
      function: `params, *rest -> pytree of arrays`.
      rules: what is decided on the way.
      dense: parameters of the dense network, by leaf name.
      pruned: those of the pruned one.
      rest: further arguments, a tuple of pytrees for each network; where both hold the same
        array, what follows from it alone is computed once.

    Returns:
      What the pruned network returns, and its parameters after the rules.
    """
    walk = _Walk(rules, dense, dict(pruned))
    return walk.run(function, rest), walk.pruned


def see_products(
    function: Callable[..., Any],
    look: Callable[[Product, Array, Array], Array],
    params: Params,
    *rest: Any,
) -> dict[str, Array]:
    """What `look` says of every product with a parameter.

    Args:
      function: `params, *rest -> pytree of arrays`.
      look: `product, inputs, weights -> an array like the weights`.
      params: by leaf name.
      *rest: further arguments.

    Returns:
      By leaf name, in the leaf's shape; leaves that no product uses are missing.
    """
    noted: dict[str, Array] = {}

    def note(name: str, product: Product, inputs: Both, weights: Both) -> Array:
        noted[name] = look(product, inputs.dense, weights.dense)
        return weights.pruned

    rules = Rules(note, lambda name, sums, bias: bias.pruned, lambda batch, stored: stored.pruned)
    walk = _Walk(rules, params, dict(params))
    walk.run(function, Both(rest, rest))
    return {
        name: _as_leaf(walk.views[name], value, params[name].shape) for name, value in noted.items()
    }


def _as_leaf(view: Callable[[Array], Array], value: Array, shape: tuple[int, ...]) -> Array:
    """Takes a parameter as an operation gets it back; views only move values, so they invert."""
    back = jax.linear_transpose(view, jax.ShapeDtypeStruct(shape, value.dtype))
    leaf = back(value)[0]
    return leaf / (value.size // leaf.size)


def _waits(operand: Any) -> bool:
    return isinstance(operand, Scaled) and operand.settled is None


def _unmoved(leaf: Array) -> Array:
    return leaf


class _Walk:
    """One evaluation: `pruned` as far as the rules have changed it, `views` of what was used."""

    def __init__(self, rules: Rules, dense: Params, pruned: Params):
        self.rules, self.dense, self.pruned = rules, dense, pruned
        self.views: dict[str, Callable[[Array], Array]] = {}

    def run(self, function: Callable[..., Any], rest: Both) -> Any:
        """What the pruned network returns."""
        program, shapes = jax.make_jaxpr(function, return_shape=True)(self.dense, *rest.dense)
        names = jax.tree.leaves({name: name for name in self.dense})
        arguments = [Parameter(name, _unmoved, _unmoved) for name in names]
        others = zip(jax.tree.leaves(rest.dense), jax.tree.leaves(rest.pruned), strict=True)
        results = self.evaluate(program, [*arguments, *(Both(*pair) for pair in others)])
        leaves = [self.computed(value).pruned for value in results]
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    def evaluate(self, program: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
        values = bound(program, arguments)
        for equation in program.jaxpr.eqns:
            operands = [read(values, variable) for variable in equation.invars]
            values.update(zip(equation.outvars, self.apply(equation, operands), strict=True))
        return [read(values, variable) for variable in program.jaxpr.outvars]

    def apply(self, equation: Any, operands: list[Any]) -> Sequence[Any]:
        name = equation.primitive.name
        if equation.params.get("name") == NORMALISING:
            return self.normalise(operands)
        if inner := inner_program(equation):
            return self.evaluate(inner, operands)
        parameters = [isinstance(operand, Parameter) for operand in operands]
        if name in VIEWS and (isinstance(operands[0], Parameter) or _waits(operands[0])):
            return [operands[0].viewed(equation)]
        if parameters == [False, True] and name in ("dot_general", "conv_general_dilated"):
            return [self.multiply(equation, self.computed(operands[0]), operands[1])]
        if name == "add" and sum(parameters) == 1:
            return [self.add(equation, operands)]
        if name == "mul" and (scaled := self.scale(equation, operands)):
            return [scaled]
        return self.plain(equation, operands)

    def plain(self, equation: Any, operands: list[Any]) -> list[Both]:
        for parameter in (one for one in operands if isinstance(one, Parameter)):
            self.first_use(parameter)
        pairs = [self.computed(operand) for operand in operands]
        return bind_both(equation, pairs)

    def multiply(self, equation: Any, inputs: Both, parameter: Parameter) -> Both:
        weights = self.computed(parameter)
        product = product_of(equation, inputs.dense, weights.dense)
        if product is None:
            return self.plain(equation, [inputs, parameter])[0]
        if self.first_use(parameter):
            chosen = self.rules.product(parameter.name, product, inputs, weights)
            self.replace(parameter, weights, chosen)
        return self.plain(equation, [inputs, parameter])[0]

    def add(self, equation: Any, operands: list[Any]) -> Both:
        parameter = next(one for one in operands if isinstance(one, Parameter))
        first = self.first_use(parameter)
        for scaled in (one for one in operands if isinstance(one, Scaled)):
            self.settle(scaled, parameter.name if first else None)
        result = self.plain(equation, operands)[0]
        if not first:
            return result
        bias = self.computed(parameter)
        self.replace(parameter, bias, self.rules.bias(parameter.name, result, bias))
        return self.plain(equation, operands)[0]

    def scale(self, equation: Any, operands: list[Any]) -> Scaled | None:
        """Products with a gain, to be decided at their use; None where there is none to decide."""
        waiting = [isinstance(one, Parameter) for one in operands]
        if not any(waiting):
            waiting = [_waits(one) for one in operands]
        if sum(waiting) != 1:
            return None
        place = waiting.index(True)
        gain = operands[place]
        if isinstance(gain, Parameter):
            gain = Scaled.alone(gain, equation.invars[place].aval.shape)
        elif not gain.gains_by(equation):
            return None
        return gain.times(equation, self.computed(operands[1 - place]), place)

    def settle(self, scaled: Scaled, bias: str | None) -> Both:
        """The products, once the gain in them is decided."""
        if scaled.settled is None:
            parameter = scaled.parameter
            products = scaled.products(self.computed(parameter))
            if self.first_use(parameter) and self.regain(scaled, products, bias):
                products = scaled.products(self.computed(parameter))
            scaled.settled = products
        return scaled.settled

    def regain(self, scaled: Scaled, products: Both, bias: str | None) -> bool:
        """Whether the rule chose another gain."""
        name = scaled.parameter.name
        leaf = Both(self.dense[name], self.pruned[name])
        total = partial(scaled.total, leaf=leaf.pruned)
        chosen = self.rules.gain(Gain(name, leaf, bias, total, scaled.spread), products)
        if chosen is leaf.pruned:
            return False
        self.pruned[name] = chosen.astype(leaf.pruned.dtype)
        return True

    def normalise(self, operands: list[Any]) -> list[Both]:
        pairs = [self.computed(operand) for operand in operands]
        dense, pruned = (tuple(values) for values in zip(*pairs, strict=True))
        batch, stored = Both(dense[:2], pruned[:2]), Both(dense[2:], pruned[2:])
        used = self.rules.norm(batch, stored)
        return [Both(*pair) for pair in zip(stored.dense, used, strict=True)]

    def first_use(self, parameter: Parameter) -> bool:
        """Whether nothing has used it yet: later it can't change any more."""
        first = parameter.name not in self.views
        self.views.setdefault(parameter.name, parameter.view)
        return first

    def replace(self, parameter: Parameter, before: Both, value: Array) -> None:
        if value is before.pruned:
            return
        leaf = self.pruned[parameter.name]
        value = _as_leaf(parameter.view, value.astype(before.pruned.dtype), leaf.shape)
        self.pruned[parameter.name] = value.astype(leaf.dtype)

    def computed(self, value: Any) -> Both:
        if isinstance(value, Scaled):
            return self.settle(value, None)
        if isinstance(value, Parameter):
            dense, pruned = self.dense[value.name], self.pruned[value.name]
            shown = value.view(dense)
            return Both(shown, shown if pruned is dense else value.view(pruned))
        return value if isinstance(value, Both) else Both(value, value)
