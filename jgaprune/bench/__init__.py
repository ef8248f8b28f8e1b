"""How fast this machine evaluates populations of masks, beside what others would run on it."""

from jgaprune.bench.bench import bench
from jgaprune.bench.timing import Timing, in_turns
from jgaprune.bench.work import count_flops, peak_product

__all__ = ["Timing", "bench", "count_flops", "in_turns", "peak_product"]
