"""Scaled dot-product attention, and the keys and values that decoders remember.

Vaswani et al., "Attention is all you need" (NeurIPS 2017); several query heads may share a key
and a value head: Ainslie et al. (EMNLP 2023). Which position sees which others is up to the
networks.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.model import PADDING
from jgaprune.types import Array


class Memory(NamedTuple):
    """Keys and values of one layer, `[N, L, key heads, head size]`, by position."""

    keys: Array
    values: Array


Block = Callable[[Array, Array, Array, Memory | None], tuple[Array, Memory]]


def heads_of(x: Array, num_key_heads: int, head_size: int) -> Array:
    """`[N, L, channels] -> [N, L, key heads, heads that share one, head size]`."""
    return x.reshape(*x.shape[:2], num_key_heads, -1, head_size)


def attended(queries: Array, memory: Memory, seen: Array | None = None) -> Array:
    """What each position takes from the positions that it sees.

    Args:
      queries: `[N, I, key heads, heads that share one, head size]`.
      memory: keys and values of the positions `J`.
      seen: bool, broadcast to `[N, key heads, heads that share one, I, J]`; None for all. A
        position that sees none takes the mean of all.

    Returns:
      `[N, I, channels]`.
    """
    scores = jnp.einsum("nikgd,njkd->nkgij", queries, memory.keys) / queries.shape[-1] ** 0.5
    if seen is not None:
        scores = jnp.where(seen, scores, jnp.finfo(scores.dtype).min)
    mixed = jnp.einsum("nkgij,njkd->nikgd", jax.nn.softmax(scores), memory.values)
    return mixed.reshape(*queries.shape[:2], -1)


def real_keys(tokens: Array) -> Array:
    """Which keys are no padding, for `attended`: `bool [N, 1, 1, 1, L]` of tokens `[N, L]`."""
    return (tokens != PADDING)[:, None, None, None, :]


def looked_up(tokens: Array) -> Array:
    """Tokens as rows of an embedding; padding, which nothing looks at, as the first."""
    return jnp.maximum(tokens, 0)


def up_to(positions: Array, num_keys: int) -> Array:
    """Which of the first keys queries at `positions [I]` see in a causal network, `[I, J]`."""
    return positions[:, None] >= jnp.arange(num_keys)


def decoded(
    blocks: Iterable[Block],
    x: Array,
    tokens: Array,
    positions: Array,
    memory: list[Memory] | None,
) -> tuple[Array, list[Memory]]:
    """Embedded tokens through the blocks of a causal network.

    Args:
      blocks: `x, positions, what is seen, the block's memory -> x, its memory then`.
      x: `[N, L, dim]`.
      tokens: `int32 [N, L]` that `x` are the embeddings of.
      positions: `int [L]` of the tokens.
      memory: of each block, what stands before; None where nothing does, and tokens may be padding.

    Returns:
      `[N, L, dim]`, and the memory of each block.
    """
    seen, kept = up_to(positions, memory[0].keys.shape[1] if memory else tokens.shape[1]), []
    if memory is None:
        seen = seen & real_keys(tokens)
    for number, block in enumerate(blocks):
        x, after = block(x, positions, seen, memory[number] if memory else None)
        kept.append(after)
    return x, kept


def empty_memory(num_inputs: int, length: int, num_key_heads: int, head_size: int) -> Memory:
    """Room for the keys and values of so many windows."""
    nothing = jnp.zeros((num_inputs, length, num_key_heads, head_size))
    return Memory(nothing, nothing)


def remembered(memory: Memory | None, new: Memory, position: Array) -> Memory:
    """The memory with new keys and values from `position` on; without one, the new ones."""
    if memory is None:
        return new
    pairs = zip(memory, new, strict=True)
    return Memory(*(jax.lax.dynamic_update_slice_in_dim(o, n, position, 1) for o, n in pairs))
