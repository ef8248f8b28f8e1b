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


class _Walk:
    """One evaluation: `pruned` as far as the rules have changed it, `views` of what was used."""

    def __init__(self, rules: Rules, dense: Params, pruned: Params):
        self.rules, self.dense, self.pruned = rules, dense, pruned
        self.views: dict[str, Callable[[Array], Array]] = {}

    def run(self, function: Callable[..., Any], rest: Both) -> Any:
        """What the pruned network returns."""
        program, shapes = jax.make_jaxpr(function, return_shape=True)(self.dense, *rest.dense)
        names = jax.tree.leaves({name: name for name in self.dense})
        arguments = [_Parameter(name, lambda leaf: leaf) for name in names]
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
        parameters = [isinstance(operand, _Parameter) for operand in operands]
        if parameters == [True] and name in _VIEWS:
            return [self.viewed(equation, operands[0])]
        if parameters == [False, True] and name in ("dot_general", "conv_general_dilated"):
            return [self.multiply(equation, self.computed(operands[0]), operands[1])]
        if name == "add" and sum(parameters) == 1:
            return [self.add(equation, operands)]
        return self.plain(equation, operands)

    def plain(self, equation: Any, operands: list[Any]) -> list[Both]:
        for parameter in (one for one in operands if isinstance(one, _Parameter)):
            self.first_use(parameter)
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
        parameter = next(one for one in operands if isinstance(one, _Parameter))
        first = self.first_use(parameter)
        result = self.plain(equation, operands)[0]
        if not first:
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
        """Whether nothing has used it yet: later it can't change any more."""
        first = parameter.name not in self.views
        self.views.setdefault(parameter.name, parameter.view)
        return first

    def replace(self, parameter: _Parameter, before: Both, value: Array) -> None:
        if value is before.pruned:
            return
        leaf = self.pruned[parameter.name]
        value = _as_leaf(parameter.view, value.astype(before.pruned.dtype), leaf.shape)
        self.pruned[parameter.name] = value.astype(leaf.dtype)

    def computed(self, value: Any) -> Both:
        if isinstance(value, _Parameter):
            dense, pruned = self.dense[value.name], self.pruned[value.name]
            shown = value.view(dense)
            return Both(shown, shown if pruned is dense else value.view(pruned))
        return value if isinstance(value, Both) else Both(value, value)
