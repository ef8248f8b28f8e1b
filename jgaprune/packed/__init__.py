"""Arithmetic on packed masks for operators that keep the number of set bits."""

from jgaprune.packed.balance import balanced
from jgaprune.packed.coins import coin_flips
from jgaprune.packed.exchange import exchange_random

__all__ = ["balanced", "coin_flips", "exchange_random"]
