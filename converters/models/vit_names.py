"""What files of vision transformers tell: tensors by timm's names or Hugging Face's, and sizes."""

import math
import re

from jgaprune.converters.models.architecture import Config, Shapes, rows_of

HEADS = ("classifier", "pooler", "none")
_HEAD_SIZE = 64
_PREFIX = "vit."
_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
    "classifier": "head",
    "pooler.dense": "pooler",
}
_LAYER = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.attention.query": "attn.query",
    "attention.attention.key": "attn.key",
    "attention.attention.value": "attn.value",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
_OF_TIMM = 1e-6
_OF_HUGGING_FACE = 1e-12


def our_name(name: str) -> str:
    """timm's name of a tensor from Hugging Face's; other names as they are.

    >>> our_name("vit.encoder.layer.0.intermediate.dense.weight")
    'blocks.0.mlp.fc1.weight'
    """
    short = name.removeprefix(_PREFIX)
    if short in _OUTSIDE:
        return _OUTSIDE[short]
    place, _, kind = short.rpartition(".")
    if found := re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", place):
        number, layer = found.groups()
        return f"blocks.{number}.{_LAYER.get(layer, layer)}.{kind}"
    return f"{_OUTSIDE[place]}.{kind}" if place in _OUTSIDE else name


def renamed(shapes: Shapes) -> dict[str, str]:
    """From timm's names to the file's."""
    return {our_name(name): name for name in shapes}


def is_likely(shapes: Shapes) -> bool:
    """Whether there is a class token among patches."""
    return any(name.endswith("cls_token") for name in shapes)


def infer(shapes: Shapes) -> Config:
    """All arguments; images as nearly square as the positions allow, heads of 64 channels."""
    by_timm = "cls_token" in shapes
    shapes = {our_name(name): shape for name, shape in shapes.items()}
    dim = rows_of(shapes, "norm.weight", _HEAD_SIZE)
    patch = shapes.get("patch_embed.proj.weight", ())
    channels, patch_size = (patch[1], patch[2]) if len(patch) == 4 and min(patch) else (3, 16)
    positions = shapes.get("pos_embed", ())
    num_patches = positions[1] - 1 if len(positions) == 3 else 196
    height, width = _nearest_to_square(max(1, num_patches))
    layer = "blocks.0."
    return {
        "dim": dim,
        "num_layers": max(1, len({n for n in shapes if re.fullmatch(_NORM, n)})),
        "num_heads": dim // _HEAD_SIZE if dim % _HEAD_SIZE == 0 else 1,
        "hidden": rows_of(shapes, f"{layer}mlp.fc1.weight", 4 * dim),
        "num_classes": rows_of(shapes, "head.weight", 1000),
        "head": _head(shapes),
        "patch_size": patch_size,
        "image_size": (height * patch_size, width * patch_size),
        "channels": channels,
        "fused": f"{layer}attn.query.weight" not in shapes,
        "qkv_bias": not shapes or bool({f"{layer}attn.{n}.bias" for n in _QUERIES} & set(shapes)),
        "eps": _OF_TIMM if by_timm else _OF_HUGGING_FACE,
        "activation": "gelu",
    }


_NORM = r"blocks\.\d+\.norm1\.weight"
_QUERIES = ("qkv", "query")


def _head(shapes: Shapes) -> str:
    if "head.weight" in shapes or not shapes:
        return "classifier"
    return "pooler" if "pooler.weight" in shapes else "none"


def _nearest_to_square(area: int) -> tuple[int, int]:
    """Height and width of a rectangle, the width not below the height.

    >>> _nearest_to_square(196), _nearest_to_square(6)
    ((14, 14), (2, 3))
    """
    height = next(side for side in range(math.isqrt(area), 0, -1) if area % side == 0)
    return height, area // height
