"""llama2.c's first export of Llama models: `.bin` with a header of sizes and float32 weights.

Seven int32: dim, hidden, layers, heads, key/value heads, vocabulary (negative where the output has
a matrix of its own), context. Then the weights, kind by kind over all layers, and two tables of
rotary positions behind the last norm. Tensors get the names that llama2.c gives them in PyTorch.
Format: `legacy_export` of https://github.com/karpathy/llama2.c/blob/master/export.py (MIT).
"""

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.writing import checked_arrays, replace_file

_HEADER_BYTES = 28
_LARGEST = 2**24
"""No size in a header is larger; vocabularies and contexts are far below."""
_MOST_LAYERS = 2**12
_TABLES = ("freq_cis_real", "freq_cis_imag")


class _Header(NamedTuple):
    """The sizes at the beginning of a file, in its order."""

    dim: int
    hidden: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    vocabulary: int
    """Negative where the output has a matrix of its own."""
    context: int


def read_llama2c(data: FileBytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read the tensors of a `.bin` file.

    Args:
      data: the whole file.

    Returns:
      `float32` arrays by name in the file's order, the tables `freq_cis_real` and `freq_cis_imag`
      `[context, head size / 2]` among them; no metadata.

    Raises:
      FormatError: if the header is absurd, or the file is longer or shorter than it says.
    """
    if faults := llama2c_faults(data):
        raise FormatError(f"is no whole model of llama2.c: {faults}. Copy or download it again")
    tensors: dict[str, np.ndarray] = {}
    start = _HEADER_BYTES
    for name, shape in _shapes(_header(data)).items():
        tensors[name] = np.ndarray(shape, "<f4", data, start)
        start += tensors[name].nbytes
    return tensors, {}


def write_llama2c(path: str | os.PathLike[str], tensors: Mapping[str, Any]) -> None:
    """Write a `.bin` file; a file of that name is replaced in one step.

    Args:
      path: where to write; the folder must exist.
      tensors: float arrays by the names that `read_llama2c` gives, all of them.

    Raises:
      FormatError: if a tensor is missing, has another shape than the others ask for, or has no
        place in the format, or writing fails.
    """
    arrays = checked_arrays(tensors)
    header = _header_of({name: array.shape for name, array in arrays.items()})
    shapes = {} if header is None or _header_faults(header) else _shapes(header)
    if header is None or {name: array.shape for name, array in arrays.items()} != shapes:
        raise FormatError(
            f"these {len(arrays)} tensors are not those of a llama2.c model; write a .safetensors "
            "file"
        )
    parts = [np.asarray(header, "<i4"), *(arrays[name].astype("<f4") for name in shapes)]
    replace_file(path, lambda file: [file.write(part.tobytes()) for part in parts])


def _header(data: FileBytes) -> _Header:
    return _Header(*np.frombuffer(data[:_HEADER_BYTES], "<i4").tolist())


def _header_of(shapes: dict[str, tuple[int, ...]]) -> _Header | None:
    """The sizes that tensors have; None where those that tell are missing."""
    layer = "layers.0."
    telling = ("tok_embeddings.weight", f"{layer}feed_forward.w1.weight", _TABLES[0])
    if any(len(shapes.get(name, ())) != 2 for name in (*telling, f"{layer}attention.wk.weight")):
        return None
    (vocabulary, dim), (hidden, _), (context, half) = (shapes[name] for name in telling)
    head_size = max(1, 2 * half)
    return _Header(
        dim,
        hidden,
        sum(name.endswith(".attention_norm.weight") for name in shapes),
        dim // head_size,
        shapes[f"{layer}attention.wk.weight"][0] // head_size,
        -vocabulary if "output.weight" in shapes else vocabulary,
        context,
    )


def _shapes(header: _Header) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors by name, in the file's order."""
    outside, inside = _outside(header), _inside(header)
    shapes = {"tok_embeddings.weight": outside.pop("tok_embeddings.weight")}
    for kind, shape in inside.items():
        shapes |= {f"layers.{number}.{kind}": shape for number in range(header.num_layers)}
    return shapes | outside


def _outside(header: _Header) -> dict[str, tuple[int, ...]]:
    """Shapes of what no layer owns."""
    embedding = (abs(header.vocabulary), header.dim)
    table = (header.context, header.dim // header.num_heads // 2)
    head = {"output.weight": embedding} if header.vocabulary < 0 else {}
    tables = dict.fromkeys(_TABLES, table)
    return {"tok_embeddings.weight": embedding, "norm.weight": (header.dim,), **tables, **head}


def _inside(header: _Header) -> dict[str, tuple[int, ...]]:
    """Shapes of one layer's tensors."""
    dim, hidden = header.dim, header.hidden
    kv_dim = dim // header.num_heads * header.num_kv_heads
    return {
        "attention_norm.weight": (dim,),
        "attention.wq.weight": (dim, dim),
        "attention.wk.weight": (kv_dim, dim),
        "attention.wv.weight": (kv_dim, dim),
        "attention.wo.weight": (dim, dim),
        "ffn_norm.weight": (dim,),
        "feed_forward.w1.weight": (hidden, dim),
        "feed_forward.w2.weight": (dim, hidden),
        "feed_forward.w3.weight": (hidden, dim),
    }


def _num_bytes(header: _Header) -> int:
    """Length of the whole file, without making a list of its tensors."""
    outside = sum(math.prod(shape) for shape in _outside(header).values())
    layer = sum(math.prod(shape) for shape in _inside(header).values())
    return _HEADER_BYTES + 4 * (outside + header.num_layers * layer)


def llama2c_faults(data: FileBytes) -> str:
    """Why a file is no model of llama2.c; nothing if its sizes explain its length to the byte."""
    if len(data) < _HEADER_BYTES:
        return f"it has {len(data)} bytes, less than the header's {_HEADER_BYTES}"
    header = _header(data)
    if faults := _header_faults(header):
        return faults
    if (expected := _num_bytes(header)) != len(data):
        return f"its header asks for {expected:,} bytes, there are {len(data):,}"
    return ""


def _header_faults(header: _Header) -> str:
    sizes = header._replace(vocabulary=abs(header.vocabulary))
    absurd = [f"{n} {size}" for n, size in sizes._asdict().items() if not 0 < size <= _LARGEST]
    if not absurd and header.num_layers > _MOST_LAYERS:
        absurd = [f"num_layers {header.num_layers}"]
    if absurd:
        return f"its header has absurd sizes ({', '.join(absurd)})"
    if header.dim % header.num_heads or header.dim // header.num_heads % 2:
        return f"dim {header.dim} does not make {header.num_heads} heads of an even size"
    if header.num_heads % header.num_kv_heads:
        return f"{header.num_kv_heads} key heads do not divide {header.num_heads} heads"
    return ""
