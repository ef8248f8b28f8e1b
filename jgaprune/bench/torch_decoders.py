"""The language models of `converters` in PyTorch, written from their papers and state_dicts.

Attribute names are those of Hugging Face's classes; arguments are those of `converters`. They are
called with tokens and an attention mask, 1 where a token is no padding. Only imported where torch
is asked for.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from jgaprune.bench.torch_transformers import ACTIVATIONS, Named, attend, keys_seen


def causal(mask: Tensor) -> Tensor:
    length = mask.shape[1]
    return keys_seen(mask) & torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()


class Conv1d(nn.Module):
    """A dense layer with its weights stored (in, out)."""

    def __init__(self, num_in: int, num_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_in, num_out))
        self.bias = nn.Parameter(torch.randn(num_out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Gpt2Block(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, eps: float, activation: str):
        super().__init__()
        self.heads, self.activation = heads, ACTIVATIONS[activation]
        self.ln_1, self.ln_2 = nn.LayerNorm(dim, eps), nn.LayerNorm(dim, eps)
        self.attn = Named(c_attn=Conv1d(dim, 3 * dim), c_proj=Conv1d(dim, dim))
        self.mlp = Named(c_fc=Conv1d(dim, hidden), c_proj=Conv1d(hidden, dim))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        q, k, v = self.attn.c_attn(self.ln_1(x)).chunk(3, -1)
        x = x + self.attn.c_proj(attend(q, k, v, self.heads, seen))
        return x + self.mlp.c_proj(self.activation(self.mlp.c_fc(self.ln_2(x))))


class Gpt2(nn.Module):
    """`GPT2LMHeadModel`."""

    def __init__(
        self,
        *,
        dim: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        hidden: int = 3072,
        vocabulary: int = 50257,
        positions: int = 1024,
        eps: float = 1e-5,
        activation: str = "gelu_new",
        tied: bool = True,
    ):
        super().__init__()
        of_block = (dim, num_heads, hidden, eps, activation)
        self.transformer = Named(
            wte=nn.Embedding(vocabulary, dim),
            wpe=nn.Embedding(positions, dim),
            h=nn.ModuleList(Gpt2Block(*of_block) for _ in range(num_layers)),
            ln_f=nn.LayerNorm(dim, eps),
        )
        self.lm_head = nn.Linear(dim, vocabulary, bias=False)
        if tied:
            self.lm_head.weight = self.transformer.wte.weight

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        inner, seen = self.transformer, causal(mask)
        x = inner.wte(tokens) + inner.wpe(torch.arange(tokens.shape[1]))
        for block in inner.h:
            x = block(x, seen)
        return self.lm_head(inner.ln_f(x))


class LlamaBlock(nn.Module):
    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int,
        hidden: int,
        eps: float,
        base: float,
        pairing: str,
    ):
        super().__init__()
        self.heads, self.kv_heads, self.base, self.pairing = heads, kv_heads, base, pairing
        kv_dim = dim // heads * kv_heads
        shapes = {"q_proj": (dim, dim), "k_proj": (dim, kv_dim), "v_proj": (dim, kv_dim)}
        shapes["o_proj"] = (dim, dim)
        self.self_attn = Named(**{n: nn.Linear(*s, bias=False) for n, s in shapes.items()})
        shapes = {"gate_proj": (dim, hidden), "up_proj": (dim, hidden), "down_proj": (hidden, dim)}
        self.mlp = Named(**{n: nn.Linear(*s, bias=False) for n, s in shapes.items()})
        self.input_layernorm = nn.RMSNorm(dim, eps)
        self.post_attention_layernorm = nn.RMSNorm(dim, eps)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        y, attn, mlp = self.input_layernorm(x), self.self_attn, self.mlp
        q = self._turned(attn.q_proj(y), self.heads)
        k, v = self._turned(attn.k_proj(y), self.kv_heads), attn.v_proj(y)
        shared = self.heads // self.kv_heads
        k, v = (
            part.unflatten(-1, (self.kv_heads, -1)).repeat_interleave(shared, 2).flatten(2)
            for part in (k, v)
        )
        x = x + attn.o_proj(attend(q, k, v, self.heads, seen))
        y = self.post_attention_layernorm(x)
        return x + mlp.down_proj(F.silu(mlp.gate_proj(y)) * mlp.up_proj(y))

    def _turned(self, x: Tensor, heads: int) -> Tensor:
        """Rotary positions: channels of a head's two halves in pairs, or neighbouring ones."""
        x = x.unflatten(-1, (heads, -1))
        size = x.shape[-1]
        frequencies = self.base ** (-torch.arange(0, size, 2, dtype=x.dtype) / size)
        angles = torch.outer(torch.arange(x.shape[1], dtype=x.dtype), frequencies)[:, None]
        halves = self.pairing == "half"
        first, second = x.chunk(2, -1) if halves else (x[..., ::2], x[..., 1::2])
        real = first * angles.cos() - second * angles.sin()
        imaginary = first * angles.sin() + second * angles.cos()
        return torch.stack([real, imaginary], -2 if halves else -1).flatten(2)


class Llama(nn.Module):
    """`LlamaForCausalLM`."""

    def __init__(
        self,
        *,
        dim: int = 2048,
        num_layers: int = 22,
        num_heads: int = 32,
        num_kv_heads: int = 4,
        hidden: int = 5632,
        vocabulary: int = 32000,
        eps: float = 1e-5,
        rope_base: float = 10000.0,
        pairing: str = "half",
        tied: bool = False,
    ):
        super().__init__()
        of_block = (dim, num_heads, num_kv_heads, hidden, eps, rope_base, pairing)
        blocks = (LlamaBlock(*of_block) for _ in range(num_layers))
        self.model = Named(
            embed_tokens=nn.Embedding(vocabulary, dim),
            layers=nn.ModuleList(blocks),
            norm=nn.RMSNorm(dim, eps),
        )
        self.lm_head = nn.Linear(dim, vocabulary, bias=False)
        if tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x, seen = self.model.embed_tokens(tokens), causal(mask)
        for block in self.model.layers:
            x = block(x, seen)
        return self.lm_head(self.model.norm(x))
