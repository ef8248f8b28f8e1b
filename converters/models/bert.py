"""BERT: an encoder of token windows, read off the first token or off every one.

Devlin et al. (NAACL 2019, arXiv:1810.04805). Leaves have the names of Hugging Face's
`BertForSequenceClassification`. Inputs are windows of a single segment, padded with -1 wherever
an attention mask would be 0: what stands there is looked up as token 0, which is [PAD].
"""

import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config
from jgaprune.converters.models.attention import Memory, attended, heads_of, looked_up, real_keys
from jgaprune.converters.models.bert_names import HEADS, has_no_leaf, infer, is_likely, renamed
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


class BertWithHead(nnx.Module):
    """`int32 [N, L]` to classes `[N, C]`, classes of tokens `[N, L, C]`, or features `[N, dim]`."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.bert = Bert(config, rngs)
        self.has_classifier = config["head"] != "pooler"
        if self.has_classifier:
            self.classifier = nnx.Linear(config["dim"], config["num_classes"], rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        x = self.bert(tokens)
        return self.classifier(x) if self.has_classifier else x


class Bert(nnx.Module):
    """`int32 [N, L]` to `[N, dim]` of the first token, or of all `[N, L, dim]` without a pooler."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.embeddings = Embeddings(config, rngs)
        self.encoder = Encoder(config, rngs)
        self.has_pooler = config["head"] != "tokens"
        if self.has_pooler:
            self.pooler = Pooler(config, rngs)

    def __call__(self, tokens: Array) -> Array:
        x = self.encoder(self.embeddings(tokens), real_keys(tokens))
        return self.pooler(x) if self.has_pooler else x


class Embeddings(nnx.Module):
    """Of tokens, of their positions whatever is padded, and of the first segment."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        dim = config["dim"]
        self.word_embeddings = embedding(config["vocabulary"], dim, rngs)
        self.position_embeddings = embedding(config["positions"], dim, rngs)
        self.token_type_embeddings = embedding(config["segments"], dim, rngs)
        self.LayerNorm = layer_norm(dim, config["eps"], rngs)

    def __call__(self, tokens: Array) -> Array:
        positions = jnp.arange(tokens.shape[1])
        first = jnp.zeros_like(positions)
        x = self.word_embeddings(looked_up(tokens)) + self.token_type_embeddings(first)
        return self.LayerNorm(x + self.position_embeddings(positions))


class Encoder(nnx.Module):
    """The layers."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.layer = nnx.List([Layer(config, rngs) for _ in range(config["num_layers"])])

    def __call__(self, x: Array, seen: Array) -> Array:
        for layer in self.layer:
            x = layer(x, seen)
        return x


class Layer(nnx.Module):
    """Attention and two dense layers, each with a norm behind the sum with its input."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.attention = Attention(config, rngs)
        self.intermediate = Dense(config["dim"], config["hidden"], rngs)
        self.output = DenseAndNorm(config["hidden"], config, rngs)
        self.activation = ACTIVATIONS[config["activation"]]

    def __call__(self, x: Array, seen: Array) -> Array:
        x = self.attention(x, seen)
        return self.output(self.activation(self.intermediate(x)), x)


class Attention(nnx.Module):
    """Attention, with what follows it."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.self = SelfAttention(config, rngs)
        self.output = DenseAndNorm(config["dim"], config, rngs)

    def __call__(self, x: Array, seen: Array) -> Array:
        return self.output(self.self(x, seen), x)


class SelfAttention(nnx.Module):
    """What each token takes from those that are no padding."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        dim = config["dim"]
        self.num_heads, self.head_size = config["num_heads"], dim // config["num_heads"]
        self.query = nnx.Linear(dim, dim, rngs=rngs)
        self.key = nnx.Linear(dim, dim, rngs=rngs)
        self.value = nnx.Linear(dim, dim, rngs=rngs)

    def __call__(self, x: Array, seen: Array) -> Array:
        layers = (self.query, self.key, self.value)
        q, k, v = (heads_of(layer(x), self.num_heads, self.head_size) for layer in layers)
        return attended(q, Memory(k[:, :, :, 0], v[:, :, :, 0]), seen)


class Dense(nnx.Module):
    """A dense layer under the name that BERT gives it."""

    def __init__(self, num_in: int, num_out: int, rngs: nnx.Rngs):
        self.dense = nnx.Linear(num_in, num_out, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.dense(x)


class DenseAndNorm(nnx.Module):
    """A dense layer, whose sum with a shortcut is normalised."""

    def __init__(self, num_in: int, config: Config, rngs: nnx.Rngs):
        self.dense = nnx.Linear(num_in, config["dim"], rngs=rngs)
        self.LayerNorm = layer_norm(config["dim"], config["eps"], rngs)

    def __call__(self, x: Array, shortcut: Array) -> Array:
        return self.LayerNorm(self.dense(x) + shortcut)


class Pooler(nnx.Module):
    """`[N, L, dim] -> [N, dim]`, of the first token."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.dense = nnx.Linear(config["dim"], config["dim"], rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return jnp.tanh(self.dense(x[:, 0]))


def _build(config: Config, rngs: nnx.Rngs) -> BertWithHead:
    faults = head_faults(config["dim"], config["num_heads"])
    faults += activation_faults(config["activation"])
    if config["head"] not in HEADS:
        faults.append(f"head must be one of {', '.join(HEADS)}, got {config['head']!r}.")
    if config["context"] > config["positions"]:
        faults.append(f"context must be at most {config['positions']}, got {config['context']}.")
    if faults:
        raise ConversionError(f"arguments of bert: {' '.join(faults)}")
    return BertWithHead(config, rngs)


BERT = Architecture(
    name="bert",
    build=_build,
    infer=infer,
    input_shape=lambda config: (config["context"],),
    preprocessing=Preprocessing(),
    is_likely=is_likely,
    renamed=renamed,
    vocabulary=lambda config: config["vocabulary"],
    is_derived=has_no_leaf,
    padding=True,
    hf=HfConfig(
        model_type="bert",
        arguments={
            "num_heads": Told(("num_attention_heads",), 12),
            "eps": Told(("layer_norm_eps",), 1e-12),
            "activation": Told(("hidden_act",), "gelu"),
        },
        required={"position_embedding_type": ("absolute",), "is_decoder": (False,)},
    ),
    assumed=("num_heads", "context", "eps", "activation"),
)
