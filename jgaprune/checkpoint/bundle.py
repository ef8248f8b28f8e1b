"""Named arrays as one array of bytes, and JSON values that say where in it each of them lies."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]

_ALIGNED = 64


def joined(arrays: Arrays) -> tuple[np.ndarray, dict[str, Any]]:
    """Copies of all in one array, and by name where each begins, its type and its shape.

    Copies, because on CPU the memory of an array is that of the device, which may be donated.
    """
    places, size = dict[str, Any](), 0
    for name, array in arrays.items():
        places[name] = [size, str(array.dtype), list(array.shape)]
        size += -(-array.nbytes // _ALIGNED) * _ALIGNED
    data = np.zeros(max(size, 1), np.uint8)
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        data[places[name][0] :][: raw.size] = raw
    return data, places


def parted(data: np.ndarray, places: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays again, as views of the one."""
    return {
        name: np.frombuffer(data, np.dtype(dtype), math.prod(shape), offset).reshape(shape)
        for name, (offset, dtype, shape) in places.items()
    }
