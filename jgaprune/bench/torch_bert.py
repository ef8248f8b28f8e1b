"""BERT of `converters` in PyTorch, written from its paper and state_dicts.

Attribute names are those of Hugging Face's classes; arguments are those of `converters`. Called
with tokens and an attention mask, 1 where a token is no padding. Only imported where torch is
asked for.
"""

from typing import Any

import torch
from torch import Tensor, nn

from jgaprune.bench.torch_transformers import ACTIVATIONS, Named, SelfAttention, keys_seen


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
        *,
        dim: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        hidden: int = 3072,
        vocabulary: int = 30522,
        positions: int = 512,
        segments: int = 2,
        eps: float = 1e-12,
        activation: str = "gelu",
        pooler: bool = True,
    ):
        super().__init__()
        self.embeddings = Named(
            word_embeddings=nn.Embedding(vocabulary, dim),
            position_embeddings=nn.Embedding(positions, dim),
            token_type_embeddings=nn.Embedding(segments, dim),
            LayerNorm=nn.LayerNorm(dim, eps),
        )
        of_layer = (dim, num_heads, hidden, eps, activation)
        layer = nn.ModuleList(BertLayer(*of_layer) for _ in range(num_layers))
        self.encoder = Named(layer=layer)
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

    def __init__(self, num_classes: int, inner: Bert):
        super().__init__()
        self.bert = inner
        self.classifier = nn.Linear(inner.embeddings.LayerNorm.normalized_shape[0], num_classes)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.classifier(self.bert(tokens, mask))


def bert(*, head: str = "classifier", num_classes: int = 2, **arguments: Any) -> nn.Module:
    """The class that ends in this head, without those that only the pre-training needs."""
    if head not in ("classifier", "pooler", "tokens"):
        raise ValueError(f"BERT's head must be classifier, pooler or tokens, got {head!r}.")
    inner = Bert(pooler=head != "tokens", **arguments)
    return inner if head == "pooler" else BertClassifier(num_classes, inner)
