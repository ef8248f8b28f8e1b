"""`.safetensors` files: reading without a copy, writing atomically by the safetensors library.

Eight bytes tell the length of a JSON header; behind it the tensors lie side by side without a
gap. Reading is done here, because the library's own NumPy reader copies and knows neither bfloat16
nor float8. Format: https://github.com/huggingface/safetensors#format.
"""

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors.numpy

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.json_text import MAX_JSON_BYTES, parse_json
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
_MOST_AXES = 64
"""As many as NumPy's arrays have."""
_MOST_SHOWN = 8


def read_safetensors(data: FileBytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read the tensors and the header's metadata.

    Args:
      data: the whole file.

    Returns:
      Arrays by name in the file's order, views of the file; and the metadata, all of whose
      values are text.

    Raises:
      FormatError: if the file is damaged or holds a type that NumPy can't.
    """
    header, start = _header(data)
    metadata = header.pop("__metadata__", None) or {}
    if type(metadata) is not dict or not all(type(text) is str for text in metadata.values()):
        raise FormatError(_damaged("its metadata is not text by name"))
    entries = [_entry(name, value) for name, value in header.items()]
    entries.sort(key=lambda entry: (entry.start, entry.stop))
    if faults := _layout_faults(entries, len(data) - start):
        raise FormatError(_damaged("; ".join(faults)))
    arrays = {e.name: np.ndarray(e.shape, e.dtype, data, start + e.start) for e in entries}
    return arrays, metadata


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


class _Entry(NamedTuple):
    """One tensor as the header describes it; positions count from the header's end."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


def _header(data: FileBytes) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the tensors begin."""
    stop = 8 + int.from_bytes(data[:8], "little")
    if stop > min(len(data), 8 + MAX_JSON_BYTES):
        raise FormatError(
            _damaged(f"its header of {stop - 8:,} bytes is longer than the file or than any is")
        )
    try:
        return parse_json(data[8:stop]), stop
    except FormatError as error:
        raise FormatError(f"is a damaged .safetensors file: its header {error}") from error


def _entry(name: str, value: Any) -> _Entry:
    """Check one entry by itself."""
    if type(value) is not dict or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(
            _damaged(f"it does not say dtype, shape and data_offsets of {name!r:.80}")
        )
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    numbers = [*shape, *offsets] if type(shape) is type(offsets) is list else [None]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise FormatError(_damaged(f"the shape or place of {name!r:.80} is no list of sizes"))
    if type(dtype) is not str or dtype not in _DTYPES:
        raise FormatError(
            f"stores {name!r:.80} as {dtype!s:.20}, which NumPy can't hold. Save it as float32 or "
            "bfloat16"
        )
    if len(shape) > _MOST_AXES or len(offsets) != 2:
        raise FormatError(_damaged(f"{name!r:.80} has over {_MOST_AXES} axes or no place"))
    return _Entry(name, np.dtype(_DTYPES[dtype]), tuple(shape), *offsets)


def _layout_faults(entries: list[_Entry], num_bytes: int) -> list[str]:
    """Where the tensors, in their order, overlap, leave gaps, or differ from their shapes."""
    faults, position = [], 0
    for entry in entries:
        size = math.prod(entry.shape) * entry.dtype.itemsize
        if (entry.start, entry.stop - entry.start) != (position, size):
            faults.append(
                f"{entry.name!r:.80} of {size:,} bytes lies at {entry.start:,} to {entry.stop:,}, "
                f"expected from {position:,} on"
            )
        position = entry.stop
    if position != num_bytes:
        faults.append(f"its tensors end at {position:,} of {num_bytes:,} bytes")
    return faults[:_MOST_SHOWN]


def _damaged(reason: str) -> str:
    return f"is a damaged .safetensors file ({reason}). Copy or download it again"
