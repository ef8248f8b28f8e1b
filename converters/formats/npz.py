"""`.npz` files: named NumPy arrays, read without pickles, written atomically."""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from jgaprune.converters.formats.archive import open_archive, read_entry
from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.writing import checked_arrays, is_numpy_number, replace_file

_MOST_HEADER = 2**14
"""NumPy itself refuses headers of more than 10,000 bytes."""
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
    """Check the size in the header against the bytes that are there before allocating."""
    head = bytes(raw[:_MOST_HEADER])
    if not head.startswith(npy.MAGIC_PREFIX):
        raise FormatError(
            f"has an entry {name!r:.80} that is no NumPy array. Write .npz files with np.savez"
        )
    file = io.BytesIO(head)
    version = npy.read_magic(file)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, is_fortran, dtype = read_header[version](file)
    if dtype.hasobject:
        raise FormatError(
            f"holds {name!r:.80} as a pickled Python object, which is refused; nothing was "
            "executed. Save plain arrays: np.savez(path, name=np.asarray(values))"
        )
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes != len(raw) - file.tell():
        raise FormatError(
            f"declares {num_bytes} bytes for {name!r:.80} but holds {len(raw) - file.tell()}. "
            "The file is damaged: copy or download it again"
        )
    return np.ndarray(shape, dtype, raw, file.tell(), order="F" if is_fortran else "C")


def _write_entries(file: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(name + ".npy", _FIRST_ZIP_DATE)
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as stream:
                npy.write_array(stream, array, allow_pickle=False)
