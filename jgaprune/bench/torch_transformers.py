"""The encoders of `converters` in PyTorch, written from their papers and state_dicts.

Attribute names are those of timm (`TimmVit`) or of Hugging Face's classes. BERT is called with
tokens and an attention mask, 1 where a token is no padding. Only imported where torch is asked
for.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, seen: Tensor | None = None) -> Tensor:
    """Of `[N, L, channels]`; `seen` broadcasts to `[N, heads, L, L]`."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def keys_seen(mask: Tensor) -> Tensor:
    return mask.bool()[:, None, None, :]


class Named(nn.Module):
    """Submodules under the given names, so that state_dicts are spelled as elsewhere."""

    def __init__(self, /, **modules: nn.Module):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)


class TimmBlock(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, eps: float):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps), nn.LayerNorm(dim, eps)
        self.attn = Named(qkv=nn.Linear(dim, 3 * dim), proj=nn.Linear(dim, dim))
        self.mlp = Named(fc1=nn.Linear(dim, hidden), fc2=nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.attn.proj(attend(q, k, v, self.heads))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class TimmVit(nn.Module):
    """ViT with timm's names; `size` is of the image, height and width."""

    def __init__(
        self,
        dim: int = 192,
        layers: int = 12,
        heads: int = 3,
        patch: int = 16,
        size: tuple[int, int] = (224, 224),
        classes: int = 1000,
        eps: float = 1e-6,
    ):
        super().__init__()
        patches = (size[0] // patch) * (size[1] // patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, patches + 1, dim))
        self.patch_embed = Named(proj=nn.Conv2d(3, dim, patch, stride=patch))
        self.blocks = nn.ModuleList(TimmBlock(dim, heads, 4 * dim, eps) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(dim, eps), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        return attend(self.query(x), self.key(x), self.value(x), self.heads, seen)


class HfVitLayer(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, eps: float):
        super().__init__()
        self.attention = Named(
            attention=SelfAttention(dim, heads), output=Named(dense=nn.Linear(dim, dim))
        )
        self.intermediate = Named(dense=nn.Linear(dim, hidden))
        self.output = Named(dense=nn.Linear(hidden, dim))
        self.layernorm_before = nn.LayerNorm(dim, eps)
        self.layernorm_after = nn.LayerNorm(dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention.output.dense(self.attention.attention(self.layernorm_before(x)))
        y = F.gelu(self.intermediate.dense(self.layernorm_after(x)))
        return x + self.output.dense(y)


class HfVit(nn.Module):
    """ViT with the names of `ViTForImageClassification`."""

    def __init__(
        self,
        dim: int = 768,
        layers: int = 12,
        heads: int = 12,
        patch: int = 16,
        size: tuple[int, int] = (224, 224),
        classes: int = 1000,
        eps: float = 1e-12,
    ):
        super().__init__()
        patches = (size[0] // patch) * (size[1] // patch)
        embeddings = Named(
            patch_embeddings=Named(projection=nn.Conv2d(3, dim, patch, stride=patch))
        )
        embeddings.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        embeddings.position_embeddings = nn.Parameter(torch.randn(1, patches + 1, dim))
        layer = nn.ModuleList(HfVitLayer(dim, heads, 4 * dim, eps) for _ in range(layers))
        self.vit = Named(
            embeddings=embeddings, encoder=Named(layer=layer), layernorm=nn.LayerNorm(dim, eps)
        )
        self.classifier = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        embeddings = self.vit.embeddings
        x = embeddings.patch_embeddings.projection(x).flatten(2).transpose(1, 2)
        x = torch.cat([embeddings.cls_token.expand(len(x), -1, -1), x], 1)
        x = x + embeddings.position_embeddings
        for layer in self.vit.encoder.layer:
            x = layer(x)
        return self.classifier(self.vit.layernorm(x)[:, 0])


class BertLayer(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, eps: float, activation: str):
        super().__init__()
        self.attention = Named(
            self=SelfAttention(dim, heads),
            output=Named(dense=nn.Linear(dim, dim), LayerNorm=nn.LayerNorm(dim, eps)),
        )
        self.intermediate = Named(dense=nn.Linear(dim, hidden))
        self.output = Named(dense=nn.Linear(hidden, dim), LayerNorm=nn.LayerNorm(dim, eps))
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        after = self.attention.output
        x = after.LayerNorm(after.dense(self.attention.self(x, seen)) + x)
        y = self.activation(self.intermediate.dense(x))
        return self.output.LayerNorm(self.output.dense(y) + x)


class Bert(nn.Module):
    """`BertModel`: its pooled output, or that of all tokens without a pooler."""

    def __init__(
        self,
        dim: int = 768,
        layers: int = 12,
        heads: int = 12,
        vocabulary: int = 30522,
        positions: int = 512,
        eps: float = 1e-12,
        activation: str = "gelu",
        pooler: bool = True,
    ):
        super().__init__()
        self.embeddings = Named(
            word_embeddings=nn.Embedding(vocabulary, dim),
            position_embeddings=nn.Embedding(positions, dim),
            token_type_embeddings=nn.Embedding(2, dim),
            LayerNorm=nn.LayerNorm(dim, eps),
        )
        blocks = (BertLayer(dim, heads, 4 * dim, eps, activation) for _ in range(layers))
        self.encoder = Named(layer=nn.ModuleList(blocks))
        self.pooler = Named(dense=nn.Linear(dim, dim)) if pooler else None

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        embeddings, positions = self.embeddings, torch.arange(tokens.shape[1])
        x = embeddings.word_embeddings(tokens) + embeddings.position_embeddings(positions)
        x = embeddings.LayerNorm(x + embeddings.token_type_embeddings(torch.zeros_like(tokens)))
        for layer in self.encoder.layer:
            x = layer(x, keys_seen(mask))
        return x if self.pooler is None else torch.tanh(self.pooler.dense(x[:, 0]))


class BertClassifier(nn.Module):
    """`BertForSequenceClassification`, or `BertForTokenClassification` without a pooler."""

    def __init__(self, classes: int = 2, dim: int = 768, **sizes):
        super().__init__()
        self.bert = Bert(dim, **sizes)
        self.classifier = nn.Linear(dim, classes)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.classifier(self.bert(tokens, mask))
