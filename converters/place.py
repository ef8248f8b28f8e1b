"""Tensors of a file become arrays of a model, one after the other and block by block.

A file may fill most of the memory. So each weight is written once, straight into the memory
that the model keeps, and what was read of the file is given back on the way.
"""

from collections.abc import Iterator

import jax
import numpy as np

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.formats import forget_array
from jgaprune.model import SourceTensor

_BLOCK_BYTES = 2**22
_ALIGNMENT = 64
"""In bytes. JAX takes over arrays on the CPU that begin at a multiple, and copies all others."""


def place(
    ordered: list[SourceTensor], tensors: dict[str, np.ndarray], path: str
) -> list[jax.Array]:
    """The leaves in float32, in the order asked for.

    Args:
      ordered: which tensor each leaf is made from, and how.
      tensors: of the file, by their exact names; it is empty afterwards.
      path: the file, for messages.

    Raises:
      ConversionError: weights are NaN or infinite in float32; the message lists all of them.
    """
    last = {tensor.name: number for number, tensor in enumerate(ordered)}
    for name in tensors.keys() - last.keys():
        del tensors[name]
    leaves, faults = [], []
    for number, tensor in enumerate(ordered):
        source = tensors[tensor.name]
        if number == last[tensor.name]:
            del tensors[tensor.name]
        leaf, num_bad = _leaf(source, tensor)
        if num_bad:
            faults.append(f"{num_bad} of {leaf.size} values of {tensor.name} are NaN or infinite")
        leaves.append(jax.device_put(leaf))
    if faults:
        raise ConversionError(
            f"{path} holds weights that float32 can't compute with: {'; '.join(faults)}. Save "
            "the weights of a training run that did not diverge, in the range of float32."
        )
    return leaves


def same_numbers(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether arrays of one shape and dtype hold the same bytes, and not only zeros."""
    found = False
    for left, right in zip(_blocks(one.reshape(-1)), _blocks(two.reshape(-1)), strict=True):
        if left.tobytes() != right.tobytes():
            return False
        found = found or bool(left.any())
        forget_array(left)
        forget_array(right)
    return found


def _leaf(source: np.ndarray, tensor: SourceTensor) -> tuple[np.ndarray, int]:
    """The leaf of `to_leaf` in float32, and how many of its values are no finite numbers."""
    moved = [tensor.split[axis] for axis in tensor.axes]
    leaf = _aligned(source.size).reshape(moved)
    target = leaf.transpose(np.argsort(tensor.axes))
    num_bad = start = 0
    for block in _blocks(source.reshape(tensor.split)):
        part = target[start : start + len(block)] if block.ndim else target
        # What is beyond the range of float32 becomes infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(part, block, casting="unsafe")
        num_bad += part.size - int(np.isfinite(part).sum())
        start += len(block) if block.ndim else 0
        forget_array(block)
    if len(tensor.split) > len(tensor.shape):
        leaf = leaf.reshape(-1, tensor.shape[0])
    return leaf, num_bad


def _aligned(num_items: int) -> np.ndarray:
    """Uninitialised float32 `[num_items]` that JAX need not copy."""
    raw = np.empty(4 * num_items + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + 4 * num_items].view(np.float32)


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Views of some megabytes each, along the first axis."""
    if array.ndim == 0 or array.size == 0:
        yield array
        return
    step = max(1, _BLOCK_BYTES * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), step):
        yield array[start : start + step]
