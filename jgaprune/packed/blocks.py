"""Blocks of words, counted together so that only their sums are summed up over a whole mask."""

import jax.numpy as jnp

from jgaprune.masks import WORD_BITS
from jgaprune.types import Array

BLOCK = 32
"""Words of a block."""
BLOCK_BITS = BLOCK * WORD_BITS


def in_blocks(words: Array) -> Array:
    """`[W]` as `[blocks, BLOCK]`, zeros behind the end."""
    return jnp.pad(words, (0, -words.shape[0] % BLOCK)).reshape(-1, BLOCK)
