"""GPT-2: a causal language model with learned positions.

Radford et al., "Language models are unsupervised multitask learners" (2019). Leaves have the names
of Hugging Face's `GPT2LMHeadModel`, whose dense layers inside the blocks are stored (in, out).
Inputs are windows of tokens, padded behind their end where they are shorter.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config
from jgaprune.converters.models.attention import (
    Memory,
    attended,
    decoded,
    empty_memory,
    heads_of,
    looked_up,
    remembered,
)
from jgaprune.converters.models.gpt2_names import (
    infer,
    is_as_in_flax,
    is_buffer,
    is_likely,
    renamed,
    tied,
)
from jgaprune.converters.models.hf_config import HfConfig, Told
from jgaprune.converters.models.layers import (
    ACTIVATIONS,
    activation_faults,
    embedding,
    head_faults,
    layer_norm,
)
from jgaprune.model import Preprocessing
from jgaprune.types import Array


class Gpt2(nnx.Module):
    """`int32 [N, L] -> [N, L, V]`: logits of the token that follows each."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.transformer = Decoder(config, rngs)
        self.tied = config["tied"]
        if not self.tied:
            self.lm_head = nnx.Linear(
                config["dim"], config["vocabulary"], use_bias=False, rngs=rngs
            )

    def __call__(self, tokens: Array) -> Array:
        return self._logits(self.transformer(tokens, jnp.arange(tokens.shape[1]))[0])

    def memory(self, num_inputs: int, length: int) -> list[Memory]:
        """Room for the keys and values of so many windows, layer by layer."""
        return [block.attn.memory(num_inputs, length) for block in self.transformer.h]

    def step(
        self, tokens: Array, position: Array, memory: list[Memory]
    ) -> tuple[Array, list[Memory]]:
        """Logits `[N, V]` behind tokens `[N]` that all stand at `position`, and the memory then."""
        x, memory = self.transformer(tokens[:, None], position[None], memory)
        return self._logits(x)[:, 0], memory

    def _logits(self, x: Array) -> Array:
        return self.transformer.wte.attend(x) if self.tied else self.lm_head(x)


class Decoder(nnx.Module):
    """`int32 [N, L]` at positions `[L]`, behind what is in memory, `-> [N, L, dim]`."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.wte = embedding(config["vocabulary"], config["dim"], rngs)
        self.wpe = embedding(config["positions"], config["dim"], rngs)
        self.h = nnx.List([Block(config, rngs) for _ in range(config["num_layers"])])
        self.ln_f = layer_norm(config["dim"], config["eps"], rngs)

    def __call__(
        self, tokens: Array, positions: Array, memory: list[Memory] | None = None
    ) -> tuple[Array, list[Memory]]:
        x = self.wte(looked_up(tokens)) + self.wpe(positions)
        x, memory = decoded(self.h, x, tokens, positions, memory)
        return self.ln_f(x), memory


class Block(nnx.Module):
    """Attention and a multilayer perceptron, each behind a norm and around a shortcut."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.ln_1 = layer_norm(config["dim"], config["eps"], rngs)
        self.attn = Attention(config, rngs)
        self.ln_2 = layer_norm(config["dim"], config["eps"], rngs)
        self.mlp = Mlp(config, rngs)

    def __call__(
        self, x: Array, positions: Array, seen: Array, memory: Memory | None
    ) -> tuple[Array, Memory]:
        y, memory = self.attn(self.ln_1(x), positions, seen, memory)
        x = x + y
        return x + self.mlp(self.ln_2(x)), memory


class Attention(nnx.Module):
    """Attention whose queries, keys and values one layer makes."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        dim, self.num_heads = config["dim"], config["num_heads"]
        self.head_size = dim // self.num_heads
        self.c_attn = nnx.Linear(dim, 3 * dim, rngs=rngs)
        self.c_proj = nnx.Linear(dim, dim, rngs=rngs)

    def memory(self, num_inputs: int, length: int) -> Memory:
        return empty_memory(num_inputs, length, self.num_heads, self.head_size)

    def __call__(
        self, x: Array, positions: Array, seen: Array, memory: Memory | None
    ) -> tuple[Array, Memory]:
        parts = jnp.split(self.c_attn(x), 3, axis=-1)
        q, k, v = (heads_of(part, self.num_heads, self.head_size) for part in parts)
        memory = remembered(memory, Memory(k[:, :, :, 0], v[:, :, :, 0]), positions[0])
        return self.c_proj(attended(q, memory, seen)), memory


class Mlp(nnx.Module):
    """Two layers."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.c_fc = nnx.Linear(config["dim"], config["hidden"], rngs=rngs)
        self.c_proj = nnx.Linear(config["hidden"], config["dim"], rngs=rngs)
        self.activation = ACTIVATIONS[config["activation"]]

    def __call__(self, x: Array) -> Array:
        return self.c_proj(self.activation(self.c_fc(x)))


def _build(config: Config, rngs: nnx.Rngs) -> Gpt2:
    faults = head_faults(config["dim"], config["num_heads"])
    faults += activation_faults(config["activation"])
    if config["context"] > config["positions"]:
        faults.append(f"context must be at most {config['positions']}, got {config['context']}.")
    if faults:
        raise ConversionError(f"arguments of gpt2: {' '.join(faults)}")
    return Gpt2(config, rngs)


def _last_token(config: dict[str, Any]) -> int:
    """<|endoftext|>, which begins a text as well, is the last of GPT-2's vocabulary."""
    return config["vocabulary"] - 1


GPT2 = Architecture(
    name="gpt2",
    build=_build,
    infer=infer,
    input_shape=lambda config: (config["context"],),
    preprocessing=Preprocessing(),
    is_likely=is_likely,
    renamed=renamed,
    vocabulary=lambda config: config["vocabulary"],
    is_derived=is_buffer,
    is_as_in_flax=is_as_in_flax,
    tied=tied,
    padding=True,
    start_token=_last_token,
    hf=HfConfig(
        model_type="gpt2",
        arguments={
            "num_heads": Told(("n_head",), 12),
            "eps": Told(("layer_norm_epsilon",), 1e-5),
            "activation": Told(("activation_function",), "gelu_new"),
            "tied": Told(("tie_word_embeddings",), True),
        },
        required={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
    ),
    assumed=("num_heads", "context", "eps", "activation"),
)
