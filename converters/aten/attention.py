"""Attention: what torch computes in one operator."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.types import Array


def _scaled_dot_product(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Softmax attention over `[..., heads, L, D]`; `dropout` is refused before."""
    if enable_gqa:
        key, value = (
            jnp.repeat(one, query.shape[-3] // one.shape[-3], axis=-3) for one in (key, value)
        )
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = jnp.matmul(scale * query, key.swapaxes(-1, -2))
    if is_causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if mask is None:
        return jnp.matmul(jax.nn.softmax(scores), value)
    if mask.dtype != bool:
        mask, added = mask > -jnp.inf, mask
        scores = scores + jnp.where(mask, added, 0.0)
    return jnp.matmul(_masked_softmax(scores, mask), value)


def _masked_softmax(scores: Array, mask: Array) -> Array:
    """Softmax over what the mask shows; zero where it shows nothing, as in torch.

    Nothing is reduced over the mask alone: where it is a constant, XLA would do that at compile
    time, for minutes.
    """
    seen = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    highest = jax.lax.stop_gradient(jnp.max(seen, axis=-1, keepdims=True))
    shares = jnp.where(mask, jnp.exp(seen - highest), 0.0)
    total = jnp.sum(shares, axis=-1, keepdims=True)
    return shares / jnp.where(total == 0, 1.0, total)


OPERATORS: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention.default": _scaled_dot_product,
}
