"""ATen operators as JAX functions, one family per file.

`OPERATORS` maps the name of an operator and overload, such as `add.Tensor`, to a function of the
operator's arguments in ATen's order. Arrays stand for tensors, Python numbers for sizes, names for
dtypes. Weights of `linear` and `convolution` come in Flax layout. What an operator returns beside
its values (indices of a maximum, statistics that only training needs) may be missing at the end.

ATen's operators and their schemas: https://docs.pytorch.org/docs/stable/torch.compiler_ir.html
"""

from collections.abc import Callable
from typing import Any

from jgaprune.converters.aten import (
    activations,
    attention,
    convolution,
    creation,
    elementwise,
    indexing,
    normalisation,
    padding,
    pooling,
    products,
    reductions,
    resizing,
    shapes,
)

OPERATORS: dict[str, Callable[..., Any]] = {
    **activations.OPERATORS,
    **attention.OPERATORS,
    **convolution.OPERATORS,
    **creation.OPERATORS,
    **elementwise.OPERATORS,
    **indexing.OPERATORS,
    **normalisation.OPERATORS,
    **padding.OPERATORS,
    **pooling.OPERATORS,
    **products.OPERATORS,
    **reductions.OPERATORS,
    **resizing.OPERATORS,
    **shapes.OPERATORS,
}

__all__ = ["OPERATORS"]
