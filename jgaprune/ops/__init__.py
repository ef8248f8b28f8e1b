"""How operations run for a whole population, for networks that know of one candidate only."""

from jgaprune.ops.convolution import matmul_convolution
from jgaprune.ops.hoist import hoisted
from jgaprune.ops.precision import lowered
from jgaprune.ops.rewrite import Rule, rewrite

__all__ = ["Rule", "hoisted", "lowered", "matmul_convolution", "rewrite"]
