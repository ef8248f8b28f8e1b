"""`.safetensors` files: reading by the safetensors library, writing atomically.

The library checks the header; the arrays are made here, because its own NumPy reader knows
neither bfloat16 nor float8. Format: https://github.com/huggingface/safetensors.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.writing import checked_arrays, replace_file

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
}


def read_safetensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read the tensors and the header's metadata.

    Args:
      data: the whole file.

    Returns:
      Arrays by name in the file's order, and the metadata, all of whose values are text.

    Raises:
      FormatError: if the file is damaged or holds a type that NumPy can't.
    """
    try:
        entries = dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as error:
        raise FormatError(
            f"is a damaged .safetensors file ({error}). Copy or download it again"
        ) from error
    header_size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_size])
    # The library's order is that of a hash table: another one on each call.
    in_file_order = sorted(entries, key=lambda name: header[name]["data_offsets"])
    tensors = {name: _to_array(name, entries[name]) for name in in_file_order}
    return tensors, header.get("__metadata__") or {}


def write_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a `.safetensors` file; a file of that name is replaced in one step.

    Args:
      path: where to write; the folder must exist.
      tensors: arrays by name, of NumPy or JAX.
      metadata: text by name, for the header.

    Raises:
      FormatError: if a name, an array or the metadata can't be stored, or writing fails.
    """
    arrays = checked_arrays(tensors)
    unknown = {str(array.dtype) for array in arrays.values()} - _STORED_DTYPES
    texts = dict(metadata or {})
    if unknown:
        raise FormatError(f".safetensors can't store {', '.join(sorted(unknown))}; convert first")
    if not all(isinstance(text, str) for text in [*texts, *texts.values()]):
        raise FormatError("metadata of .safetensors must be text by name; convert it with str()")
    data = safetensors.numpy.save(arrays, texts or None)
    replace_file(path, lambda file: file.write(data))


_STORED_DTYPES = {str(np.dtype(dtype)) for dtype in _DTYPES.values()}


def _to_array(name: str, entry: dict[str, Any]) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise FormatError(
            f"stores {name!r:.80} as {entry['dtype']:.20}, which NumPy can't hold. Save it as "
            "float32 or bfloat16"
        )
    array = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return array.copy()
