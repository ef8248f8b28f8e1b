"""How fast this machine evaluates populations of masks, beside what others would run on it."""

from jgaprune.bench.bench import bench
from jgaprune.bench.timing import Timing, in_turns
from jgaprune.bench.work import count_flops, count_values, peak_copy, peak_product

__all__ = [
    "Timing",
    "bench",
    "count_flops",
    "count_values",
    "in_turns",
    "peak_copy",
    "peak_product",
]
