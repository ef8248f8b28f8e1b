"""What a lockstep asks on its way, and how it is answered."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jgaprune.ops.linear import Product
from jgaprune.types import Array


class Both(NamedTuple):
    """A value in the dense and in the pruned network."""

    dense: Any
    pruned: Any


class Gain(NamedTuple):
    """A parameter that multiplies activations element by element, where it is used.

    Attributes:
      name: of the leaf.
      leaf: it, in its own shape.
      bias: name of the parameter that is added to the products right behind, where it can still
        change; else None.
      total: `array like the products -> array like the leaf`: sums over all that an element
        multiplies.
      spread: `array like the leaf -> array like the products`: every element where it multiplies.
    """

    name: str
    leaf: Both
    bias: str | None
    total: Callable[[Array], Array]
    spread: Callable[[Array], Array]


ProductRule = Callable[[str, Product, Both, Both], Array]
"""`name, product, inputs, weights -> new weights of the pruned network`."""
BiasRule = Callable[[str, Both, Both], Array]
"""`name, sum with the bias, bias -> new bias of the pruned network`, all as broadcast."""
NormRule = Callable[[Both, Both], tuple[Array, Array]]
"""`batch statistics, stored ones -> those that the pruned network uses`; each (mean, var)."""
GainRule = Callable[[Gain, Both], Array]
"""`gain, products with it -> new leaf of the pruned network`."""


def _keep_gain(gain: Gain, products: Both) -> Array:
    return gain.leaf.pruned


class Rules(NamedTuple):
    """What is decided on the way.

    Attributes:
      product: for products with weights.
      bias: for sums with a bias.
      norm: for `jgaprune_statistics`.
      gain: for products element by element; by default they stay as they are.
    """

    product: ProductRule
    bias: BiasRule
    norm: NormRule
    gain: GainRule = _keep_gain
