"""The masks file: one bit per weight, for every framework that reads NumPy's `.npz`.

For each source tensor `NAME` with a mask, the file (`.npz`, no pickles) holds

- `NAME`: `uint8 [ceil(size / 8)]`, the mask in the tensor's own row-major order; element i
  is bit `i % 8` of byte `i // 8`, 1 where the weight stays;
- `NAME.shape`: `int64 [axes]`, the tensor's shape.

`load_masks` reads it; `torch_snippet` is code that applies it without this package.
"""

import math
import os

import numpy as np

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.formats import read

_SHAPE = ".shape"

_TORCH_SNIPPET = """\
import numpy as np
import torch

masks = {}
with np.load(MASKS) as packed:
    for name in packed.files:
        if not name.endswith(".shape"):
            shape = packed[name + ".shape"]
            bits = np.unpackbits(packed[name], count=int(np.prod(shape)), bitorder="little")
            masks[name] = torch.from_numpy(bits.reshape(shape).astype(bool))


@torch.no_grad()
def apply_masks(model):  # after each step of an optimiser: training leaves the zeros alone
    tensors = model.state_dict()
    for name, mask in masks.items():
        tensors[name].masked_fill_(~mask.to(tensors[name].device), 0)


apply_masks(model)
"""


def torch_snippet(path: str | os.PathLike[str]) -> str:
    """PyTorch code that sets what a masks file removes to zero in `model`.

    The names must be those of the model: a prefix such as `module.` is in both or in none.

    Args:
      path: of the masks file, as the code will say it.

    >>> torch_snippet("masks.npz").splitlines()[4]
    "with np.load('masks.npz') as packed:"
    """
    return _TORCH_SNIPPET.replace("MASKS", repr(os.fspath(path)))


def pack_masks(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a masks file, one bit per weight.

    >>> packed = pack_masks({"fc.weight": np.array([[True, False], [True, True]])})
    >>> packed["fc.weight"].tolist(), packed["fc.weight.shape"].tolist()
    ([13], [2, 2])
    """
    packed: dict[str, np.ndarray] = {}
    for name, mask in masks.items():
        packed[name] = np.packbits(mask.reshape(-1), bitorder="little")
        packed[name + _SHAPE] = np.array(mask.shape, np.int64)
    return packed


def unpack_masks(packed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Boolean masks from the arrays of a masks file; the inverse of `pack_masks`.

    Raises:
      ConversionError: an array has no shape beside it, or not as many bits as the shape asks.
    """
    return {name: _unpack(name, packed) for name in packed if not name.endswith(_SHAPE)}


def load_masks(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a masks file.

    Returns:
      Boolean masks by tensor name, in the source's layouts; True where the weight stays.
      `masks_from_source` makes those of a model's leaves from them.

    Raises:
      FormatError: the file can't be read.
      ConversionError: it holds something other than masks.
    """
    try:
        return unpack_masks(read(path).tensors)
    except ConversionError as error:
        raise ConversionError(f"{os.fspath(path)}: {error}") from None


def _unpack(name: str, packed: dict[str, np.ndarray]) -> np.ndarray:
    shape = packed.get(name + _SHAPE)
    if shape is None:
        raise ConversionError(f"there is {name} but no {name}{_SHAPE}. Is this a masks file?")
    if shape.dtype.kind not in "iu" or shape.ndim != 1 or (shape < 0).any():
        raise ConversionError(f"{name}{_SHAPE} is no shape: {shape}. Is this a masks file?")
    size = math.prod(shape.tolist())
    bits = packed[name]
    if bits.dtype != np.uint8 or bits.shape != (-(-size // 8),):
        raise ConversionError(
            f"{name} must be uint8 [{-(-size // 8)}] for a mask of shape {shape.tolist()}, "
            f"got {bits.dtype} {list(bits.shape)}. Is this a masks file?"
        )
    return np.unpackbits(bits, count=size, bitorder="little").astype(bool).reshape(shape)
