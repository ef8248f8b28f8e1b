"""What pruned weights weigh on disk: as they are, compressed, and without their zeros."""

import math
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jgaprune.converters.formats.hf_writer import WEIGHTS
from jgaprune.converters.targets import Exported
from jgaprune.model import Model

COMPRESSION = "zip (deflate, level 6)"
_LEVEL = 6
_CHUNK = 2**20
_WEIGHT_SUFFIXES = (".safetensors", ".bin")

SPEED = (
    "Zeros anywhere in a tensor make nothing faster by themselves: PyTorch, JAX and Keras multiply "
    "by them like by any other number and hold them in memory. What gets smaller is a compressed "
    "file. What gets faster needs a pattern that its kernels know: whole channels taken out, 2 "
    "of every 4 weights on NVIDIA's sparse tensor cores, or a sparse runtime at 90 % and above."
)
"""What does and doesn't get faster."""


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk.

    Attributes:
      dense: the source's weights.
      dense_compressed: the same by `COMPRESSION`.
      zeroed: what was exported, its zeros stored like any number.
      zeroed_compressed: the same by `COMPRESSION`.
      packed: what was exported, but of masked tensors only the kept values, and one bit per
        weight for the masks. No framework reads such a file: it is what the numbers need.
    """

    dense: int
    dense_compressed: int
    zeroed: int
    zeroed_compressed: int
    packed: int


def sizes_on_disk(model: Model, masks: dict[str, np.ndarray], exported: Exported) -> Sizes:
    """Measures the source and what was exported.

    Args:
      model: from a file that is still there.
      masks: bool, by the source's names, as `masks_to_source` gives them.
      exported: what `export` wrote.
    """
    assert model.spec.source  # What was exported from no file has no dense size to compare with.
    dense = _weight_files(Path(model.spec.source.path))
    written = _weight_files(exported.weights)
    zeroed = sum(file.stat().st_size for file in written)
    dtypes = {tensor.name: np.dtype(tensor.dtype) for _, tensor in model.spec.tensors}
    saved = sum(_saved(mask, dtypes[name].itemsize) for name, mask in masks.items())
    return Sizes(
        dense=sum(file.stat().st_size for file in dense),
        dense_compressed=_compressed(dense),
        zeroed=zeroed,
        zeroed_compressed=_compressed(written),
        packed=zeroed - saved,
    )


def _saved(mask: np.ndarray, itemsize: int) -> int:
    """Bytes of the removed weights, less those of the mask."""
    return int(mask.size - np.count_nonzero(mask)) * itemsize - math.ceil(mask.size / 8)


def _weight_files(path: Path) -> list[Path]:
    """A file itself; of a folder its weights, all files where none is known to be one."""
    if path.is_file():
        return [path]
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    files = [Path(root) / name for root, _, names in os.walk(path) for name in names]
    shards = ([file for file in files if file.suffix == suffix] for suffix in _WEIGHT_SUFFIXES)
    return next(filter(None, shards), files)


def _compressed(files: Iterable[Path]) -> int:
    """Bytes after compression, file by file and a piece at a time."""
    total = 0
    for path in files:
        compressor = zlib.compressobj(_LEVEL)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total += len(compressor.compress(chunk))
        total += len(compressor.flush())
    return total
