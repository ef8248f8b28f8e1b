"""How operations run: for a whole population, for networks that know of one candidate; on CPUs."""

from jgaprune.ops.convolution import matmul_convolution
from jgaprune.ops.hoist import hoisted
from jgaprune.ops.linear import Product, enough_rows
from jgaprune.ops.lockstep import in_lockstep, jgaprune_statistics, see_products
from jgaprune.ops.masked_product import masked_dot
from jgaprune.ops.parts import convolution_in_parts
from jgaprune.ops.precision import exact_matmul, lowered, lowered_rules
from jgaprune.ops.rewrite import Rule, rewrite
from jgaprune.ops.rows import make_rows, replace_rows
from jgaprune.ops.rules import Both, Gain, Rules

__all__ = [
    "Both",
    "Gain",
    "Product",
    "Rule",
    "Rules",
    "convolution_in_parts",
    "enough_rows",
    "exact_matmul",
    "hoisted",
    "in_lockstep",
    "jgaprune_statistics",
    "lowered",
    "lowered_rules",
    "make_rows",
    "masked_dot",
    "matmul_convolution",
    "replace_rows",
    "rewrite",
    "see_products",
]
