"""The vision transformers of `converters` in PyTorch, written from the paper and state_dicts.

Attribute names are those of timm (`TimmVit`) or of Hugging Face's classes; arguments are those of
`converters`. Parts that other transformers share are here, too. Only imported where torch is asked
for.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
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
    def __init__(
        self, dim: int, heads: int, hidden: int, eps: float, activation: str, qkv_bias: bool
    ):
        super().__init__()
        self.heads, self.activation = heads, ACTIVATIONS[activation]
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps), nn.LayerNorm(dim, eps)
        qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn = Named(qkv=qkv, proj=nn.Linear(dim, dim))
        self.mlp = Named(fc1=nn.Linear(dim, hidden), fc2=nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.attn.proj(attend(q, k, v, self.heads))
        return x + self.mlp.fc2(self.activation(self.mlp.fc1(self.norm2(x))))


class TimmVit(nn.Module):
    """ViT with timm's names, which has no pooler; `image_size` is height and width."""

    def __init__(
        self,
        *,
        dim: int = 192,
        num_layers: int = 12,
        num_heads: int = 3,
        hidden: int = 768,
        num_classes: int = 1000,
        head: str = "classifier",
        patch_size: int = 16,
        image_size: tuple[int, int] = (224, 224),
        channels: int = 3,
        qkv_bias: bool = True,
        eps: float = 1e-6,
        activation: str = "gelu",
    ):
        super().__init__()
        if head == "pooler":
            raise ValueError("timm's ViT has no pooler: head must be classifier or none.")
        patches = (image_size[0] // patch_size) * (image_size[1] // patch_size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, patches + 1, dim))
        self.patch_embed = Named(proj=nn.Conv2d(channels, dim, patch_size, stride=patch_size))
        of_block = (dim, num_heads, hidden, eps, activation, qkv_bias)
        self.blocks = nn.ModuleList(TimmBlock(*of_block) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim, eps)
        self.head = nn.Linear(dim, num_classes) if head == "classifier" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int, bias: bool = True):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=bias) for _ in range(3))

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        return attend(self.query(x), self.key(x), self.value(x), self.heads, seen)


class HfVitLayer(nn.Module):
    def __init__(
        self, dim: int, heads: int, hidden: int, eps: float, activation: str, qkv_bias: bool
    ):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.attention = Named(
            attention=SelfAttention(dim, heads, qkv_bias), output=Named(dense=nn.Linear(dim, dim))
        )
        self.intermediate = Named(dense=nn.Linear(dim, hidden))
        self.output = Named(dense=nn.Linear(hidden, dim))
        self.layernorm_before = nn.LayerNorm(dim, eps)
        self.layernorm_after = nn.LayerNorm(dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention.output.dense(self.attention.attention(self.layernorm_before(x)))
        y = self.activation(self.intermediate.dense(self.layernorm_after(x)))
        return x + self.output.dense(y)


class HfVit(nn.Module):
    """ViT with the names of `ViTForImageClassification`; without a classifier, `ViTModel`'s."""

    def __init__(
        self,
        *,
        dim: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        hidden: int = 3072,
        num_classes: int = 1000,
        head: str = "classifier",
        patch_size: int = 16,
        image_size: tuple[int, int] = (224, 224),
        channels: int = 3,
        qkv_bias: bool = True,
        eps: float = 1e-12,
        activation: str = "gelu",
    ):
        super().__init__()
        patches = (image_size[0] // patch_size) * (image_size[1] // patch_size)
        embeddings = Named(
            patch_embeddings=Named(
                projection=nn.Conv2d(channels, dim, patch_size, stride=patch_size)
            )
        )
        embeddings.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        embeddings.position_embeddings = nn.Parameter(torch.randn(1, patches + 1, dim))
        of_layer = (dim, num_heads, hidden, eps, activation, qkv_bias)
        layer = nn.ModuleList(HfVitLayer(*of_layer) for _ in range(num_layers))
        self.vit = Named(
            embeddings=embeddings, encoder=Named(layer=layer), layernorm=nn.LayerNorm(dim, eps)
        )
        if head == "pooler":
            self.vit.pooler = Named(dense=nn.Linear(dim, dim))
        self.head = head
        self.classifier = nn.Linear(dim, num_classes) if head == "classifier" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        embeddings = self.vit.embeddings
        x = embeddings.patch_embeddings.projection(x).flatten(2).transpose(1, 2)
        x = torch.cat([embeddings.cls_token.expand(len(x), -1, -1), x], 1)
        x = x + embeddings.position_embeddings
        for layer in self.vit.encoder.layer:
            x = layer(x)
        x = self.vit.layernorm(x)[:, 0]
        return torch.tanh(self.vit.pooler.dense(x)) if self.head == "pooler" else self.classifier(x)


def vit(*, fused: bool = True, **arguments: Any) -> nn.Module:
    """timm's where one layer makes queries, keys and values, else Hugging Face's."""
    return TimmVit(**arguments) if fused else HfVit(**arguments)
