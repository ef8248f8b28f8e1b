"""Operands in a lockstep that are not values yet: parameters, and products that wait for a gain."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.ops.rewrite import bind
from jgaprune.ops.rules import Both
from jgaprune.types import Array

VIEWS = ("reshape", "transpose", "convert_element_type", "broadcast_in_dim", "squeeze", "copy")
"""Operations through which a parameter stays one."""

Shape = tuple[int, ...]


class Parameter(NamedTuple):
    """A parameter on its way to the operation that uses it.

    Attributes:
      name: of the leaf.
      view: from the leaf to what the operation gets.
      moves: the same without changes of dtype.
    """

    name: str
    view: Callable[[Array], Array]
    moves: Callable[[Array], Array]

    def viewed(self, equation: Any) -> "Parameter":
        """The parameter behind one more of `VIEWS`."""
        moves = self.moves if _casts(equation) else _then(equation, self.moves)
        return Parameter(self.name, _then(equation, self.view), moves)


@dataclass
class Scaled:
    """Products with a gain that nothing has asked for yet.

    Attributes:
      parameter: the gain.
      products: from the gain as its operation gets it to the products.
      moves: from the leaf to where its elements are in the products; it may have size 1 along
        axes that they have more of.
      seen: shape of what `moves` gives.
      shape: of the products.
      same: whether nothing in them but the gain differs between the networks.
      alike: whether nothing in them but the gain differs between its elements.
      settled: the products, once they are asked for.
    """

    parameter: Parameter
    products: Callable[[Both], Both]
    moves: Callable[[Array], Array]
    seen: Shape
    shape: Shape
    same: bool = True
    alike: bool = True
    settled: Both | None = None

    @classmethod
    def alone(cls, parameter: Parameter, shape: Shape) -> "Scaled":
        """A gain that has met no factor yet."""
        return cls(parameter, lambda value: value, parameter.moves, shape, shape)

    def viewed(self, equation: Any) -> "Scaled":
        """The products behind one of `VIEWS`."""
        (result,) = _shapes(equation.outvars)
        products = _behind(equation, self.products)
        if _casts(equation):
            return replace(self, products=products, settled=None)
        moves = _then(equation, self.spread)
        return Scaled(self.parameter, products, moves, result, result, self.same, self.alike)

    def times(self, equation: Any, other: Both, place: int) -> "Scaled":
        """The products with a further factor; `place` is their own among the two operands."""
        factor, (result,) = _shapes(equation.invars)[1 - place], _shapes(equation.outvars)

        def products(value: Both) -> Both:
            pair = [self.products(value), other]
            return bind_both(equation, pair if place == 0 else pair[::-1])[0]

        same = self.same and other.dense is other.pruned
        by_element = zip(factor[::-1], self.seen[::-1], strict=False)
        alike = self.alike and all(size == 1 for size, own in by_element if own > 1)
        return Scaled(self.parameter, products, self.moves, self.seen, result, same, alike)

    def gains_by(self, equation: Any) -> bool:
        """Whether a further factor shows more of what each element of the gain multiplies.

        It does where there were no activations before, or none that differ by element or between
        the networks.
        """
        (result,) = _shapes(equation.outvars)
        return self.same or self.alike or math.prod(result) > math.prod(self.shape)

    def spread(self, leaf: Array) -> Array:
        """An array like the leaf, as it is in the products."""
        return jnp.broadcast_to(self.moves(leaf), self.shape)

    def total(self, values: Array, leaf: Array) -> Array:
        """What `values`, like the products, sum to over all that an element of the leaf reaches."""
        like = jax.ShapeDtypeStruct(leaf.shape, values.dtype)
        return jax.linear_transpose(self.spread, like)(values)[0]


def bind_both(equation: Any, pairs: Sequence[Both]) -> list[Both]:
    """The results of an operation in both networks; computed once where both have the same."""
    dense = bind(equation, [pair.dense for pair in pairs])
    if all(pair.dense is pair.pruned for pair in pairs):
        return [Both(one, one) for one in dense]
    pruned = bind(equation, [pair.pruned for pair in pairs])
    return [Both(*pair) for pair in zip(dense, pruned, strict=True)]


def _behind(equation: Any, products: Callable[[Both], Both]) -> Callable[[Both], Both]:
    return lambda value: bind_both(equation, [products(value)])[0]


def _then(equation: Any, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda leaf: bind(equation, [function(leaf)])[0]


def _casts(equation: Any) -> bool:
    return equation.primitive.name == "convert_element_type"


def _shapes(variables: Sequence[Any]) -> list[Shape]:
    return [variable.aval.shape for variable in variables]
