"""Keras files with other weights: a copy of a file in which only the given arrays differ.

Arrays lie in one piece in the files that Keras writes, so they are replaced where they lie:
configuration, optimizer and the file's structure stay as they are, byte for byte.
"""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jgaprune.converters.formats.archive import open_archive, read_entry
from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.hdf5 import SIGNATURE, HDF5File, read_hdf5
from jgaprune.converters.formats.keras_file import WEIGHTS_ENTRY
from jgaprune.converters.formats.writing import checked_arrays, replace_file


def write_keras(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Any],
    *,
    source: str | os.PathLike[str],
) -> None:
    """Write a copy of a `.keras`, `.weights.h5` or `.h5` file with other weights.

    `keras.models.load_model`, or `load_weights` for files of weights alone, reads the result as
    it reads the source.

    Args:
      path: where to write, in the source's format; a file of that name, be it the source itself,
        is replaced in one step.
      tensors: arrays by their names in the file, as from `to_source`, in its shapes and types;
        the file's other arrays stay as they are.
      source: the file to copy.

    Raises:
      FormatError: if the source can't be read or isn't a Keras file, there is no such array in
        it, one has another shape or type, one that changes is compressed there, or writing
        fails; all arrays at fault are listed.
    """
    arrays = checked_arrays(tensors)
    original = _bytes_of(source)
    try:
        data = _replaced(original, arrays)
    except FormatError as error:
        raise FormatError(f"{os.fspath(source)} {error}") from error.__cause__
    replace_file(path, lambda file: file.write(data))


def _bytes_of(source: str | os.PathLike[str]) -> bytes:
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise FormatError(
            f"{os.fspath(source)} can't be read ({error.strerror}). The weights are written into "
            "a copy of it: give the Keras file that they came from"
        ) from error


def _replaced(original: bytes, arrays: dict[str, np.ndarray]) -> bytes:
    if original.startswith(SIGNATURE):
        return _replaced_in_hdf5(original, arrays)
    if not original.startswith(b"PK"):
        raise FormatError(
            "is no Keras file. Weights can be written into a copy of a .keras or .h5 file only"
        )
    weights = _replaced_in_hdf5(read_entry(open_archive(original), WEIGHTS_ENTRY), arrays)
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as archive, zipfile.ZipFile(copy, "w") as out:
        for entry in archive.infolist():
            is_weights = entry.filename == WEIGHTS_ENTRY
            contents = weights if is_weights else archive.read(entry)
            same = zipfile.ZipInfo(entry.filename, entry.date_time)
            same.external_attr, same.compress_type = entry.external_attr, entry.compress_type
            out.writestr(same, contents)
    return copy.getvalue()


def _replaced_in_hdf5(original: bytes, arrays: dict[str, np.ndarray]) -> bytes:
    file = read_hdf5(original)
    faults = [fault for name, array in arrays.items() if (fault := _fault(file, name, array))]
    if faults:
        raise FormatError(f"has no place for {len(faults)} arrays: {'; '.join(faults)}")
    changed = bytearray(original)
    for name, place in file.places.items():
        if name in arrays:
            raw = arrays[name].astype(place.dtype, copy=False).tobytes()
            changed[place.offset : place.offset + len(raw)] = raw
    return bytes(changed)


def _fault(file: HDF5File, name: str, array: np.ndarray) -> str:
    """Why an array can't be put into the file, or nothing."""
    if name not in file.tensors:
        return f"{name}: there is no array of that name"
    own = file.tensors[name]
    if (own.shape, own.dtype) != (array.shape, array.dtype):
        return (
            f"{name}: expected {own.dtype} {list(own.shape)}, got {array.dtype} {list(array.shape)}"
        )
    if name not in file.places and own.tobytes() != array.tobytes():
        return (
            f"{name}: it is compressed in the file, which can't be changed in place (unpack the "
            "file with h5repack -f NONE, and prune that one)"
        )
    return ""
