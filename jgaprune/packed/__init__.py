"""Arithmetic on packed masks for operators that keep the number of set bits."""

from jgaprune.packed.exchange import exchange_random
from jgaprune.packed.flips import flip_random, nth_set_bits
from jgaprune.packed.segment import balanced_segment

__all__ = ["balanced_segment", "exchange_random", "flip_random", "nth_set_bits"]
