"""What files of GPT-2 tell: tensors by the names of Hugging Face's classes, and sizes."""

import re

from jgaprune.converters.models.architecture import Config, Shapes, rows_of

_HEAD_SIZE = 64
_CONTEXT = 512
_PREFIX = "transformer."
_EMBEDDING = "transformer.wte.weight"
_HEAD = "lm_head.weight"


def renamed(shapes: Shapes) -> dict[str, str]:
    """From the names of `GPT2LMHeadModel` to those of `GPT2Model`, which have no prefix.

    Of a head that is the embedding, a file may hold either name.
    """
    if "wpe.weight" in shapes:
        return {_PREFIX + name: name for name in shapes if name != _HEAD}
    return {_EMBEDDING: _HEAD} if _only_head(shapes) else {}


def _only_head(shapes: Shapes) -> bool:
    return _HEAD in shapes and _EMBEDDING not in shapes and "wte.weight" not in shapes


def tied(shapes: Shapes) -> tuple[str, str]:
    """The file's names of a head and of the embedding that it may be."""
    return _HEAD, "wte.weight" if "wte.weight" in shapes else _EMBEDDING


def is_as_in_flax(leaf: str) -> bool:
    """Whether a leaf is stored (in, out): all layers inside the blocks."""
    return leaf.startswith("transformer.h.") and leaf.endswith(".kernel")


def is_buffer(name: str) -> bool:
    """Whether a tensor is the causal mask or what masked scores become."""
    return name.endswith((".attn.bias", ".attn.masked_bias"))


def is_likely(shapes: Shapes) -> bool:
    """Whether there are GPT-2's positions."""
    return any(name.endswith("wpe.weight") for name in shapes)


def infer(shapes: Shapes) -> Config:
    """All arguments; heads of 64 channels."""
    tied_by_names = _HEAD not in shapes or _only_head(shapes)
    known = {ours: shapes[name] for ours, name in renamed(shapes).items()}
    shapes = {**shapes, **known}
    dim = rows_of(shapes, "transformer.ln_f.weight", _HEAD_SIZE)
    positions = rows_of(shapes, "transformer.wpe.weight", 1024)
    return {
        "dim": dim,
        "num_layers": max(1, len({n for n in shapes if re.fullmatch(_NORM, n)})),
        "num_heads": dim // _HEAD_SIZE if dim % _HEAD_SIZE == 0 else 1,
        "hidden": rows_of(shapes, "transformer.h.0.mlp.c_fc.bias", 4 * dim),
        "vocabulary": rows_of(shapes, _EMBEDDING, 512),
        "positions": positions,
        "context": min(positions, _CONTEXT),
        "eps": 1e-5,
        "activation": "gelu_new",
        "tied": tied_by_names,
    }


_NORM = r"transformer\.h\.\d+\.ln_1\.weight"
