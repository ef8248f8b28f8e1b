"""Llama-style language models: RMS norms, rotary positions, grouped-query attention, SwiGLU.

Touvron et al., "LLaMA: Open and efficient foundation language models" (2023, arXiv:2302.13971);
rotary positions: Su et al. (2021, arXiv:2104.09864); grouped queries: Ainslie et al. (EMNLP 2023).
Inputs are windows of tokens, padded behind their end where they are shorter. Leaves have the names
of Hugging Face's `LlamaForCausalLM`.
"""

from typing import Any

import jax
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
from jgaprune.converters.models.hf_config import HfConfig, Told
from jgaprune.converters.models.layers import embedding
from jgaprune.converters.models.llama_names import (
    CONTEXT,
    infer,
    is_likely,
    is_table,
    renamed,
    tied,
    told,
)
from jgaprune.model import Preprocessing
from jgaprune.types import Array

PAIRINGS = ("half", "interleaved")


class Llama(nnx.Module):
    """`int32 [N, L] -> [N, L, V]`: logits of the token that follows each."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.model = Decoder(config, rngs)
        self.tied = config["tied"]
        if not self.tied:
            self.lm_head = _linear(config["dim"], config["vocabulary"], rngs)

    def __call__(self, tokens: Array) -> Array:
        return self._logits(self.model(tokens, jnp.arange(tokens.shape[1]))[0])

    def memory(self, num_inputs: int, length: int) -> list[Memory]:
        """Room for the keys and values of so many windows, layer by layer."""
        return [layer.self_attn.memory(num_inputs, length) for layer in self.model.layers]

    def step(
        self, tokens: Array, position: Array, memory: list[Memory]
    ) -> tuple[Array, list[Memory]]:
        """Logits `[N, V]` behind tokens `[N]` that all stand at `position`, and the memory then."""
        x, memory = self.model(tokens[:, None], position[None], memory)
        return self._logits(x)[:, 0], memory

    def _logits(self, x: Array) -> Array:
        return self.model.embed_tokens.attend(x) if self.tied else self.lm_head(x)


class Decoder(nnx.Module):
    """`int32 [N, L]` at positions `[L]`, behind what is in memory, `-> [N, L, dim]`."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.embed_tokens = embedding(config["vocabulary"], config["dim"], rngs)
        self.layers = nnx.List([Block(config, rngs) for _ in range(config["num_layers"])])
        self.norm = _rms_norm(config, rngs)

    def __call__(
        self, tokens: Array, positions: Array, memory: list[Memory] | None = None
    ) -> tuple[Array, list[Memory]]:
        x = self.embed_tokens(looked_up(tokens))
        x, memory = decoded(self.layers, x, tokens, positions, memory)
        return self.norm(x), memory


class Block(nnx.Module):
    """Attention and a gated network, each behind a norm and around a shortcut."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.mlp = GatedMlp(config, rngs)

    def __call__(
        self, x: Array, positions: Array, seen: Array, memory: Memory | None
    ) -> tuple[Array, Memory]:
        y, memory = self.self_attn(self.input_layernorm(x), positions, seen, memory)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), memory


class Attention(nnx.Module):
    """Causal attention in which several query heads share a key and a value head."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        dim, self.num_kv = config["dim"], config["num_kv_heads"]
        self.head_size = dim // config["num_heads"]
        self.rope_base, self.pairing = config["rope_base"], config["pairing"]
        kv_dim = self.num_kv * self.head_size
        self.q_proj = _linear(dim, dim, rngs)
        self.k_proj = _linear(dim, kv_dim, rngs)
        self.v_proj = _linear(dim, kv_dim, rngs)
        self.o_proj = _linear(dim, dim, rngs)

    def memory(self, num_inputs: int, length: int) -> Memory:
        return empty_memory(num_inputs, length, self.num_kv, self.head_size)

    def __call__(
        self, x: Array, positions: Array, seen: Array, memory: Memory | None
    ) -> tuple[Array, Memory]:
        projections = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (heads_of(project(x), self.num_kv, self.head_size) for project in projections)
        q, k = (turned(one, positions, self.rope_base, self.pairing) for one in (q, k))
        memory = remembered(memory, Memory(k[:, :, :, 0], v[:, :, :, 0]), positions[0])
        return self.o_proj(attended(q, memory, seen)), memory


class GatedMlp(nnx.Module):
    """SwiGLU: Shazeer, "GLU variants improve transformer" (2020, arXiv:2002.05202)."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.gate_proj = _linear(config["dim"], config["hidden"], rngs)
        self.up_proj = _linear(config["dim"], config["hidden"], rngs)
        self.down_proj = _linear(config["hidden"], config["dim"], rngs)

    def __call__(self, x: Array) -> Array:
        return self.down_proj(jax.nn.silu(self.gate_proj(x)) * self.up_proj(x))


def turned(x: Array, positions: Array, base: float, pairing: str) -> Array:
    """Rotary positions: pair i of a head's channels at position p turned by `p / base**(2i / D)`.

    Args:
      x: `[N, L, ..., D]`.
      positions: `int32 [L]`.
      base: of the wavelengths.
      pairing: "half" for channels i and i + D / 2, "interleaved" for 2i and 2i + 1.
    """
    size, dtype = x.shape[-1], jnp.promote_types(x.dtype, jnp.float32)
    wavelengths = base ** (jnp.arange(0, size, 2, dtype=dtype) / size)
    angles = positions.astype(dtype)[:, None] / wavelengths
    angles = angles.reshape(x.shape[1], *(1 for _ in x.shape[3:]), -1)
    axis = -2 if pairing == "half" else -1
    split = (2, size // 2) if pairing == "half" else (size // 2, 2)
    pairs = x.reshape(*x.shape[:-1], *split)
    first, second = jnp.moveaxis(pairs, axis, 0)
    real = first * jnp.cos(angles) - second * jnp.sin(angles)
    imaginary = first * jnp.sin(angles) + second * jnp.cos(angles)
    return jnp.stack([real, imaginary], axis).reshape(x.shape)


def _linear(num_in: int, num_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(num_in, num_out, use_bias=False, rngs=rngs)


def _rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(config["dim"], epsilon=config["eps"], rngs=rngs)


def _build(config: Config, rngs: nnx.Rngs) -> Llama:
    dim, num_heads, num_kv = config["dim"], config["num_heads"], config["num_kv_heads"]
    faults = []
    if dim % num_heads or dim // num_heads % 2:
        faults.append(f"dim {dim} does not make {num_heads} heads of an even size.")
    if num_heads % num_kv:
        faults.append(f"num_kv_heads {num_kv} does not divide num_heads {num_heads}.")
    if config["pairing"] not in PAIRINGS:
        faults.append(f"pairing must be one of {PAIRINGS}, got {config['pairing']!r}.")
    if min(config["eps"], config["rope_base"]) <= 0:
        faults.append("eps and rope_base must be positive.")
    if faults:
        raise ConversionError(f"arguments of llama: {' '.join(faults)}")
    return Llama(config, rngs)


def _heads_told(config: Config) -> Config:
    """Where nothing is said of key heads, every query head has one."""
    return {**config, "num_kv_heads": config["num_kv_heads"] or config["num_heads"]}


def _head_faults(config: dict[str, Any]) -> list[str]:
    dim, num_heads, size = (
        config.get(key) for key in ("hidden_size", "num_attention_heads", "head_dim")
    )
    if size is None or None in (dim, num_heads) or size * num_heads == dim:
        return []
    return [f"{num_heads} heads of head_dim {size} do not make hidden_size {dim}"]


_HF = HfConfig(
    model_type="llama",
    arguments={
        "num_heads": Told(("num_attention_heads",), 32),
        "num_kv_heads": Told(("num_key_value_heads",), 0),
        "eps": Told(("rms_norm_eps",), 1e-6),
        "rope_base": Told(("rope_parameters.rope_theta", "rope_theta"), 10000.0),
        "context": Told(("max_position_embeddings",), 2048, lambda most: min(most, CONTEXT)),
        "tied": Told(("tie_word_embeddings",), False),
    },
    required={
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "rope_scaling": (None,),
        "rope_parameters.rope_type": ("default",),
        "pretraining_tp": (1,),
    },
    derive=_heads_told,
    faults=_head_faults,
)

LLAMA = Architecture(
    name="llama",
    build=_build,
    infer=infer,
    input_shape=lambda config: (config["context"],),
    preprocessing=Preprocessing(),
    is_likely=is_likely,
    renamed=renamed,
    assumed=("num_heads", "num_kv_heads", "context", "eps", "rope_base"),
    told=told,
    vocabulary=lambda config: config["vocabulary"],
    is_derived=is_table,
    padding=True,
    hf=_HF,
    tied=tied,
)
