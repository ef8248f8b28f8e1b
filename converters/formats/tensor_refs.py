"""References to tensors whose bytes are not read yet, checked against their storage.

A pickle from torch.save holds shapes, strides and the keys of storages, not the numbers. Sizes
are checked here, before anything is allocated. Where the bytes of a storage lie is up to `pth`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from jgaprune.converters.formats.errors import FormatError

SAVE_AGAIN = (
    "Save the weights alone, torch.save(model.state_dict(), path), or get them as .safetensors"
)
"""Advice for files that are no plain state_dict."""

_MAX_DIMENSIONS = 32


@dataclass(frozen=True)
class StorageRef:
    """A storage by its key, with type and size as the pickle declares them."""

    key: str
    dtype: np.dtype | None
    """None for raw bytes, whose tensors say their own type."""
    num_items: int
    start: int = 0
    """First item of a view into the storage, as files from before torch 0.4 have them."""

    @property
    def num_bytes(self) -> int:
        """Size of the whole storage in bytes."""
        return self.num_items * (1 if self.dtype is None else self.dtype.itemsize)


@dataclass(frozen=True)
class TensorRef:
    """A tensor before its bytes are read; offset and strides count items, as in torch."""

    storage: StorageRef
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size of a contiguous copy in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def tensor_ref(storage: Any, dtype: Any, offset: Any, shape: Any, strides: Any) -> TensorRef:
    """Return a checked reference.

    Raises:
      FormatError: if an argument is no size, or the view doesn't lie inside its storage.
    """
    if type(storage) is not StorageRef or not isinstance(dtype, np.dtype):
        raise FormatError(f"has a tensor without a storage or a type. {SAVE_AGAIN}")
    shape, strides, (offset,) = sizes(shape), sizes(strides), sizes((offset,))
    if len(shape) != len(strides):
        raise FormatError(f"has a tensor of shape {shape} with strides {strides}. {SAVE_AGAIN}")
    offset += storage.start
    extent = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    if math.prod(shape) and (offset + extent) * dtype.itemsize > storage.num_bytes:
        raise FormatError(
            f"has a tensor of shape {shape} that needs {offset + extent} items of "
            f"{dtype.itemsize} bytes, but its storage {storage.key!r:.40} has only "
            f"{storage.num_bytes} bytes. The file is damaged: copy or download it again"
        )
    return TensorRef(storage, dtype, offset, shape, strides)


def sizes(values: Any) -> tuple[int, ...]:
    """Return non-negative ints as a tuple, or raise."""
    if type(values) not in (tuple, list) or len(values) > _MAX_DIMENSIONS:
        raise FormatError(f"has a tensor with unreadable or over 32 dimensions. {SAVE_AGAIN}")
    if not all(type(value) is int and 0 <= value < 2**63 for value in values):
        raise FormatError(f"has a tensor with sizes that are no natural numbers. {SAVE_AGAIN}")
    return tuple(values)
