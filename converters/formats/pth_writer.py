"""Writing PyTorch files: the only part of this package that needs torch, when it is called."""

import importlib.util
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.writing import checked_arrays, is_numpy_number, replace_file


def torch_available() -> bool:
    """Whether torch is installed; it isn't imported to find out."""
    return importlib.util.find_spec("torch") is not None


def write_pth(path: str | os.PathLike[str], tensors: Mapping[str, Any]) -> None:
    """Write a state_dict with torch.save; a file of that name is replaced in one step.

    Args:
      path: where to write; the folder must exist.
      tensors: arrays by name in PyTorch's layout, of NumPy or JAX; the order is kept.

    Raises:
      FormatError: if torch is missing, an array can't be stored, or writing fails.
    """
    arrays = checked_arrays(tensors)
    if not torch_available():
        raise FormatError(
            "torch is needed to write a .pth file and isn't installed: pip install "
            "'jgaprune[torch]'. Or write a .safetensors file, which PyTorch reads with "
            "safetensors.torch.load_file"
        )
    import torch

    state = OrderedDict((name, _to_tensor(torch, array)) for name, array in arrays.items())
    replace_file(path, lambda file: torch.save(state, file))


def _to_tensor(torch: Any, array: np.ndarray) -> Any:
    """NumPy has no bfloat16 or float8 that torch knows, so their bits travel as integers."""
    if is_numpy_number(array.dtype):
        return torch.from_numpy(array.copy())
    bits = array.view(f"i{array.dtype.itemsize}").copy()
    return torch.from_numpy(bits).view(getattr(torch, array.dtype.name))
