"""Arithmetic on packed masks for operators that keep the number of set bits, and on their words."""

from jgaprune.packed.balance import balanced
from jgaprune.packed.cheap_bits import cheap_bits
from jgaprune.packed.exchange import exchange_near, exchange_random, near_chance
from jgaprune.packed.fingerprint import fingerprint

__all__ = [
    "balanced",
    "cheap_bits",
    "exchange_near",
    "exchange_random",
    "fingerprint",
    "near_chance",
]
