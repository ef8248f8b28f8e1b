"""What all writers share: checked arrays, and replacing a file in one step."""

import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from jgaprune.converters.formats.errors import FormatError

_BUILT_IN, _ADDED = 1, 2
"""Values of `numpy.dtype.isbuiltin`: NumPy's own types, and those that packages add."""


def checked_arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return contiguous NumPy arrays of native byte order, 0-d ones as they are.

    Raises:
      FormatError: listing every name that is no text or holds no array of numbers.
    """
    arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    faults = [
        name
        for name, array in arrays.items()
        if not (isinstance(name, str) and name) or not _is_number(array.dtype)
    ]
    if faults:
        raise FormatError(
            f"can't store {', '.join(map(repr, faults[:8]))}: arrays of numbers under non-empty "
            "names are expected"
        )
    return {
        name: array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
        for name, array in arrays.items()
    }


def is_numpy_number(dtype: np.dtype) -> bool:
    """Whether a dtype is one of NumPy's own number types, not one of ml_dtypes.

    The kind alone doesn't tell: that of `float8_e5m2` is the kind of floats.

    >>> is_numpy_number(np.dtype("float16"))
    True
    """
    return dtype.kind in "biufc" and np.dtype(dtype.type).isbuiltin == _BUILT_IN


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside `path`, then put it in place; a failure leaves the old file whole.

    Args:
      path: the file to create or replace.
      write: writes the contents to an open binary file.

    Raises:
      FormatError: if the operating system refuses.
    """
    target = os.path.abspath(os.fspath(path))
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            _remove(temporary)
            raise
    except OSError as error:
        raise FormatError(
            f"{target}: can't be written ({error.strerror}). Choose an existing folder with "
            "space that you may write to"
        ) from error


def _is_number(dtype: np.dtype) -> bool:
    return is_numpy_number(dtype) or np.dtype(dtype.type).isbuiltin == _ADDED


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.remove(path)
