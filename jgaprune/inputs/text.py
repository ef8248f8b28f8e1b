"""Text that a language model writes itself: inputs without data.

What a model writes is distributed as it has learned, so its own text calibrates it about as well
as its training data: Williams and Aletras, "Self-calibration for language model quantization and
pruning" (2024, arXiv:2410.17170).
"""

from functools import partial

import jax
import jax.numpy as jnp

from jgaprune.model import Model, ModelSpec
from jgaprune.types import Array, Key

_TOGETHER = 256
"""Windows written side by side: they bound memory, and change nothing but rounding."""


def sample_tokens(
    model: Model,
    key: Key,
    num: int,
    length: int,
    *,
    temperature: float = 1.0,
    start: int | None = None,
) -> Array:
    """Windows of tokens sampled from a language model, each from its beginning.

    A model that can be read token by token costs one forward pass over the windows; another one
    as many as they have tokens.

    Args:
      model: with tokens as inputs and logits for every token.
      key: PRNG key.
      num: how many windows, `N`.
      length: tokens of each, `L`, the first one included.
      temperature: what logits are divided by; below 1, likely tokens become likelier.
      start: the token that every window starts with; by default the model's.

    Returns:
      `int32 [N, L]`.

    Raises:
      ValueError: the model is no language model, a number is not positive, the start is no
        token, or windows are longer than the model's.
    """
    spec = model.spec
    if spec.vocabulary is None or not writes_text(spec):
        raise ValueError(
            f"{spec.name} does not write text: that takes tokens as inputs (vocabulary=...) and "
            "logits [N, L, vocabulary]. Pass inputs=[N, L] to a search."
        )
    longest = spec.input_shape[0]
    if min(num, length) < 1 or length > longest or not temperature > 0:
        raise ValueError(
            f"num must be positive, length in 1..{longest} and temperature above 0, got {num}, "
            f"{length} and {temperature}."
        )
    start = spec.start_token if start is None else start
    if not 0 <= start < spec.vocabulary:
        raise ValueError(f"start must be a token 0..{spec.vocabulary - 1}, got {start}.")
    together = min(num, _TOGETHER)
    keys = jax.random.split(key, -(-num // together))
    parts = [_written(model, one, together, length, temperature, start) for one in keys]
    return jnp.concatenate(parts)[:num]


def writes_text(spec: ModelSpec) -> bool:
    """Whether a model takes tokens and has logits of the next one for each."""
    return bool(spec.label_shape) and spec.num_outputs == spec.vocabulary


@partial(jax.jit, static_argnames=("num", "length"))
def _written(
    model: Model, key: Key, num: int, length: int, temperature: float, start: int
) -> Array:
    tokens = jnp.zeros((num, length), jnp.int32).at[:, 0].set(start)
    memory = None
    if model.stepwise is not None:
        memory = model.stepwise.memory(model.params, model.buffers, num, length)

    def write(state, position):
        tokens, memory = state
        logits, memory = _logits_at(model, tokens, position, memory)
        draw_key = jax.random.fold_in(key, position)
        drawn = jax.random.categorical(draw_key, logits / temperature).astype(jnp.int32)
        return (tokens.at[:, position + 1].set(drawn), memory), None

    (tokens, _), _ = jax.lax.scan(write, (tokens, memory), jnp.arange(length - 1))
    return tokens


def _logits_at(model: Model, tokens: Array, position: Array, memory):
    """Logits `[N, V]` behind the token at `position`, and the memory then."""
    if model.stepwise is None:
        return model.apply(model.params, model.buffers, tokens)[:, position], None
    read = tokens[:, position]
    return model.stepwise.step(model.params, model.buffers, read, position, memory)
