"""Lockstep: one program on two sets of weights at once, the dense and the pruned.

Both networks go through the program operation by operation, side by side, so that at every layer
a rule may look at what each of them gets there and choose new weights or statistics for the
pruned one, before the layers behind see them. Nothing is computed twice where both are the same,
and no more activations are alive than in two forward passes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr

from jgaprune.ops.linear import Product, product_of
from jgaprune.ops.rewrite import bind, bound, inner_program, read
from jgaprune.types import Array, Params

_VIEWS = ("reshape", "transpose", "convert_element_type", "broadcast_in_dim", "squeeze", "copy")
"""Operations through which a parameter stays one."""


class Both(NamedTuple):
    """A value in the dense and in the pruned network."""

    dense: Any
    pruned: Any


ProductRule = Callable[[str, Product, Both, Both], Array]
"""`name, product, inputs, weights -> new weights of the pruned network`."""
BiasRule = Callable[[str, Both, Both], Array]
"""`name, sum with the bias, bias -> new bias of the pruned network`, all as broadcast."""
NormRule = Callable[[Both, Both], tuple[Array, Array]]
"""`batch statistics, stored ones -> those that the pruned network uses`; each (mean, var)."""

NORMALISING = "jgaprune_statistics"


class Rules(NamedTuple):
    """What is decided on the way.

    Attributes:
      product: for products with weights.
      bias: for sums with a bias.
      norm: for `jgaprune_statistics`.
    """

    product: ProductRule
    bias: BiasRule
    norm: NormRule


@jax.jit
def jgaprune_statistics(
    mean: Array, var: Array, stored_mean: Array, stored_var: Array
) -> tuple[Array, Array]:
    """The stored statistics; jitted, so that a lockstep knows the place by its name."""
    return stored_mean, stored_var


class _Parameter(NamedTuple):
    """A parameter on its way to the operation that uses it.

    Attributes:
      name: of the leaf.
      view: from the leaf to what the operation gets.
    """

    name: str
    view: Callable[[Array], Array]


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
    program, shapes = jax.make_jaxpr(function, return_shape=True)(dense, *rest.dense)
    walk = _Walk(rules, dense, dict(pruned))
    names = jax.tree.leaves({name: name for name in dense})
    arguments = [_Parameter(name, lambda leaf: leaf) for name in names]
    others = zip(jax.tree.leaves(rest.dense), jax.tree.leaves(rest.pruned), strict=True)
    results = walk.evaluate(program, [*arguments, *(Both(*pair) for pair in others)])
    leaves = [walk.computed(value).pruned for value in results]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves), walk.pruned


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
    seen = []

    def note(name: str, product: Product, inputs: Both, weights: Both) -> Array:
        seen.append(name)
        return look(product, inputs.dense, weights.dense)

    # Notes take the place of the pruned network's weights, of which nothing else is asked.
    rules = Rules(note, lambda name, sums, bias: bias.pruned, lambda batch, stored: stored.pruned)
    _, notes = in_lockstep(function, rules, params, params, Both(rest, rest))
    return {name: notes[name] for name in seen}


class _Walk:
    """One evaluation; `pruned` holds the parameters as far as the rules have changed them."""

    def __init__(self, rules: Rules, dense: Params, pruned: Params):
        self.rules, self.dense, self.pruned = rules, dense, pruned
        self.done: set[str] = set()

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
        parameters = [isinstance(operand, _Parameter) for operand in operands]
        if parameters == [True] and name in _VIEWS:
            return [self.viewed(equation, operands[0])]
        if parameters == [False, True] and name in ("dot_general", "conv_general_dilated"):
            return [self.multiply(equation, self.computed(operands[0]), operands[1])]
        if name == "add" and sum(parameters) == 1:
            return [self.add(equation, operands)]
        return self.plain(equation, operands)

    def plain(self, equation: Any, operands: list[Any]) -> list[Both]:
        pairs = [self.computed(operand) for operand in operands]
        dense = bind(equation, [pair.dense for pair in pairs])
        if all(pair.dense is pair.pruned for pair in pairs):
            return [Both(one, one) for one in dense]
        pruned = bind(equation, [pair.pruned for pair in pairs])
        return [Both(*pair) for pair in zip(dense, pruned, strict=True)]

    def viewed(self, equation: Any, parameter: _Parameter) -> _Parameter:
        return _Parameter(parameter.name, lambda leaf: bind(equation, [parameter.view(leaf)])[0])

    def multiply(self, equation: Any, inputs: Both, parameter: _Parameter) -> Both:
        weights = self.computed(parameter)
        product = product_of(equation, inputs.dense, weights.dense)
        if product is None:
            return self.plain(equation, [inputs, parameter])[0]
        if self.first_use(parameter):
            chosen = self.rules.product(parameter.name, product, inputs, weights)
            self.replace(parameter, weights, chosen)
        return self.plain(equation, [inputs, parameter])[0]

    def add(self, equation: Any, operands: list[Any]) -> Both:
        result = self.plain(equation, operands)[0]
        parameter = next(one for one in operands if isinstance(one, _Parameter))
        if not self.first_use(parameter):
            return result
        bias = self.computed(parameter)
        self.replace(parameter, bias, self.rules.bias(parameter.name, result, bias))
        return self.plain(equation, operands)[0]

    def normalise(self, operands: list[Any]) -> list[Both]:
        pairs = [self.computed(operand) for operand in operands]
        dense, pruned = (tuple(values) for values in zip(*pairs, strict=True))
        batch, stored = Both(dense[:2], pruned[:2]), Both(dense[2:], pruned[2:])
        used = self.rules.norm(batch, stored)
        return [Both(*pair) for pair in zip(stored.dense, used, strict=True)]

    def first_use(self, parameter: _Parameter) -> bool:
        first = parameter.name not in self.done
        self.done.add(parameter.name)
        return first

    def replace(self, parameter: _Parameter, before: Both, value: Array) -> None:
        """Takes a parameter as an operation gets it; views only move values, so they invert."""
        if value is before.pruned:
            return
        leaf = self.pruned[parameter.name]
        back = jax.linear_transpose(parameter.view, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
        repeats = value.size // leaf.size
        self.pruned[parameter.name] = back(value)[0] / repeats

    def computed(self, value: Any) -> Both:
        if isinstance(value, _Parameter):
            dense, pruned = self.dense[value.name], self.pruned[value.name]
            shown = value.view(dense)
            return Both(shown, shown if pruned is dense else value.view(pruned))
        return value if isinstance(value, Both) else Both(value, value)
