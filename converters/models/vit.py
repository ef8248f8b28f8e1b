"""Vision transformers: ViT-Tiny, ViT-B/16 and others of the family, under two sets of names.

Dosovitskiy et al., "An image is worth 16x16 words" (ICLR 2021, arXiv:2010.11929). Leaves have the
names of timm; Hugging Face's are in `vit_names`. Queries, keys and values are one layer or three,
as in the file.
"""

import math

import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config
from jgaprune.converters.models.attention import Memory, attended, heads_of
from jgaprune.converters.models.hf_config import HfConfig, Told
from jgaprune.converters.models.layers import (
    ACTIVATIONS,
    activation_faults,
    head_faults,
    layer_norm,
)
from jgaprune.converters.models.vit_names import HEADS, infer, is_likely, renamed
from jgaprune.model import Preprocessing
from jgaprune.types import Array


class Vit(nnx.Module):
    """`[N, H, W, channels] -> [N, C]`: read off the class token."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        dim = config["dim"]
        self.patch_embed = PatchEmbedding(config, rngs)
        self.cls_token = nnx.Param(jnp.zeros((1, 1, dim)))
        self.pos_embed = nnx.Param(jnp.zeros((1, _num_patches(config) + 1, dim)))
        self.blocks = nnx.List([Block(config, rngs) for _ in range(config["num_layers"])])
        self.norm = layer_norm(dim, config["eps"], rngs)
        self.head_kind = config["head"]
        if self.head_kind == "classifier":
            self.head = nnx.Linear(dim, config["num_classes"], rngs=rngs)
        elif self.head_kind == "pooler":
            self.pooler = nnx.Linear(dim, dim, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        x = self.patch_embed(images)
        start = jnp.broadcast_to(self.cls_token[...], (x.shape[0], 1, x.shape[2]))
        x = jnp.concatenate([start, x], axis=1) + self.pos_embed[...]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)[:, 0]
        if self.head_kind == "pooler":
            return jnp.tanh(self.pooler(x))
        return self.head(x) if self.head_kind == "classifier" else x


class PatchEmbedding(nnx.Module):
    """`[N, H, W, channels] -> [N, L, dim]`, row by row."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        size = (config["patch_size"], config["patch_size"])
        self.proj = nnx.Conv(
            config["channels"], config["dim"], size, strides=size, padding="VALID", rngs=rngs
        )

    def __call__(self, images: Array) -> Array:
        x = self.proj(images)
        return x.reshape(x.shape[0], -1, x.shape[-1])


class Block(nnx.Module):
    """Attention and a multilayer perceptron, each behind a norm and around a shortcut."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.norm1 = layer_norm(config["dim"], config["eps"], rngs)
        self.attn = Attention(config, rngs)
        self.norm2 = layer_norm(config["dim"], config["eps"], rngs)
        self.mlp = Mlp(config, rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nnx.Module):
    """Every position sees all; `fused` is whether one layer makes queries, keys and values."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        dim, bias, self.fused = config["dim"], config["qkv_bias"], config["fused"]
        self.num_heads, self.head_size = config["num_heads"], dim // config["num_heads"]
        if self.fused:
            self.qkv = nnx.Linear(dim, 3 * dim, use_bias=bias, rngs=rngs)
        else:
            self.query = nnx.Linear(dim, dim, use_bias=bias, rngs=rngs)
            self.key = nnx.Linear(dim, dim, use_bias=bias, rngs=rngs)
            self.value = nnx.Linear(dim, dim, use_bias=bias, rngs=rngs)
        self.proj = nnx.Linear(dim, dim, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        parts = jnp.split(self.qkv(x), 3, axis=-1) if self.fused else self._separate(x)
        q, k, v = (heads_of(part, self.num_heads, self.head_size) for part in parts)
        return self.proj(attended(q, Memory(k[:, :, :, 0], v[:, :, :, 0])))

    def _separate(self, x: Array) -> list[Array]:
        return [self.query(x), self.key(x), self.value(x)]


class Mlp(nnx.Module):
    """Two layers."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(config["dim"], config["hidden"], rngs=rngs)
        self.fc2 = nnx.Linear(config["hidden"], config["dim"], rngs=rngs)
        self.activation = ACTIVATIONS[config["activation"]]

    def __call__(self, x: Array) -> Array:
        return self.fc2(self.activation(self.fc1(x)))


def _num_patches(config: Config) -> int:
    return math.prod(size // config["patch_size"] for size in config["image_size"])


def _build(config: Config, rngs: nnx.Rngs) -> Vit:
    faults = head_faults(config["dim"], config["num_heads"])
    faults += activation_faults(config["activation"])
    if config["head"] not in HEADS:
        faults.append(f"head must be one of {', '.join(HEADS)}, got {config['head']!r}.")
    if len(config["image_size"]) != 2:
        faults.append(f"image_size must be height and width, got {config['image_size']}.")
    elif min(config["image_size"]) < config["patch_size"]:
        faults.append(f"image_size {config['image_size']} is less than one patch.")
    if faults:
        raise ConversionError(f"arguments of vit: {' '.join(faults)}")
    return Vit(config, rngs)


VIT = Architecture(
    name="vit",
    build=_build,
    infer=infer,
    input_shape=lambda config: (*config["image_size"], config["channels"]),
    preprocessing=Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    is_likely=is_likely,
    renamed=renamed,
    assumed=("num_heads", "eps", "activation", "image_size"),
    hf=HfConfig(
        model_type="vit",
        arguments={
            "num_heads": Told(("num_attention_heads",), 12),
            "eps": Told(("layer_norm_eps",), 1e-12),
            "activation": Told(("hidden_act",), "gelu"),
        },
        required={"pooler_act": ("tanh",)},
    ),
)
