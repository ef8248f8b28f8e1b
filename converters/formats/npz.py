"""`.npz` files: named NumPy arrays, read without pickles, written atomically."""

import math
import os
import re
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from jgaprune.converters.formats.archive import open_archive, read_entry
from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.json_text import parse_json
from jgaprune.converters.formats.writing import checked_arrays, is_numpy_number, replace_file

_LONGEST = 2**12
"""Room for the header of an array with 64 axes."""
_AS_JSON = {b"'": b'"', b"(": b"[", b")": b"]", b"True": b"true", b"False": b"false"}
_WORDS = re.compile(b"|".join(map(re.escape, _AS_JSON)))
_LAST_COMMA = re.compile(rb",\s*(?=[\]}])")
_FIRST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def read_npz(data: FileBytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read the arrays of a `.npz` file.

    Args:
      data: the whole file.

    Returns:
      Arrays by name in native byte order, and single texts as metadata.

    Raises:
      FormatError: if the file is damaged or an array is neither numbers nor a single text.
    """
    archive = open_archive(data)
    arrays: dict[str, np.ndarray] = {}
    texts: dict[str, object] = {}
    for entry in archive.names():
        name = entry.removesuffix(".npy")
        array = _read_array(name, read_entry(archive, entry))
        if array.dtype.kind == "U" and array.shape == ():
            texts[name] = str(array)
        elif array.dtype.kind in "biufc":
            arrays[name] = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
        else:
            raise FormatError(
                f"holds {name!r:.80} of type {array.dtype}, which is no number type. Save "
                "bfloat16 as .safetensors, and anything else as numbers"
            )
    return arrays, texts


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write a `.npz` file; a file of that name is replaced in one step.

    Equal arrays give equal bytes: no time stamp is stored.

    Args:
      path: where to write; the folder must exist.
      arrays: arrays by name, of NumPy or JAX.

    Raises:
      FormatError: if a name or an array can't be stored, or writing fails.
    """
    checked = checked_arrays(arrays)
    foreign = {str(array.dtype) for array in checked.values() if not is_numpy_number(array.dtype)}
    if foreign:
        raise FormatError(
            f".npz can't store {', '.join(sorted(foreign))}; write a .safetensors file, or "
            "convert to float32"
        )
    replace_file(path, lambda file: _write_entries(file, checked))


def _read_array(name: str, raw: memoryview) -> np.ndarray:
    """A view; the size in the header is checked against the bytes that are there."""
    if raw[: len(npy.MAGIC_PREFIX)] != npy.MAGIC_PREFIX:
        raise FormatError(
            f"has an entry {name!r:.80} that is no NumPy array. Write .npz files with np.savez"
        )
    width = 2 if raw[len(npy.MAGIC_PREFIX)] == 1 else 4
    start = npy.MAGIC_LEN + width
    stop = start + int.from_bytes(raw[npy.MAGIC_LEN : start], "little")
    shape, is_fortran, dtype = _parse_header(name, bytes(raw[start : min(stop, start + _LONGEST)]))
    if dtype.hasobject:
        raise FormatError(
            f"holds {name!r:.80} as a pickled Python object, which is refused; nothing was "
            "executed. Save plain arrays: np.savez(path, name=np.asarray(values))"
        )
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes != len(raw) - stop:
        raise FormatError(
            f"declares {num_bytes} bytes for {name!r:.80} but holds {len(raw) - stop}. "
            "The file is damaged: copy or download it again"
        )
    return np.ndarray(shape, dtype, raw, stop, order="F" if is_fortran else "C")


def _parse_header(name: str, text: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type.

    A header is a dict as Python writes it. It is read as JSON, so that nothing comes near Python's
    own parser, which NumPy uses: that is slow where it fails, and warns.
    """
    words = _WORDS.sub(lambda found: _AS_JSON[found[0]], text)
    try:
        header = parse_json(_LAST_COMMA.sub(b"", words))
        descr, is_fortran, shape = (header[key] for key in ("descr", "fortran_order", "shape"))
        sizes = all(type(size) is int and 0 <= size < 2**63 for size in shape)
    except (FormatError, KeyError, TypeError):
        sizes = False
    if not (sizes and type(descr) is str and type(is_fortran) is bool):
        raise FormatError(
            f"has an entry {name!r:.80} whose header does not say a plain type, an order and a "
            "shape. Write .npz files of plain arrays with np.savez"
        )
    return tuple(shape), is_fortran, np.dtype(descr)


def _write_entries(file: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(name + ".npy", _FIRST_ZIP_DATE)
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as stream:
                npy.write_array(stream, array, allow_pickle=False)
