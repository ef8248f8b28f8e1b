"""Weights as PyTorch tensors: a `state_dict` to load in the process at hand."""

from typing import Any

import ml_dtypes
import numpy as np

from jgaprune.converters.export import to_source
from jgaprune.converters.exported.capture import import_torch
from jgaprune.model import Model
from jgaprune.types import Buffers, Params


def to_torch(model: Model, params: Params, buffers: Buffers) -> dict[str, Any]:
    """A `state_dict` in the source's names, layouts and types; bfloat16, which NumPy lacks, too.

    Args:
      model: of `from_torch`, or loaded from a file of PyTorch or safetensors.
      params: for example pruned and repaired ones, by leaf name.
      buffers: the same for statistics.

    Returns:
      Tensors on the CPU, by name: `module.load_state_dict(to_torch(...), strict=True)`.

    Raises:
      ConversionError: torch is missing, or the arrays are not those of the model.
    """
    torch = import_torch()
    arrays = to_source(model, params, buffers)
    return {name: _tensor(torch, array) for name, array in arrays.items()}


def _tensor(torch: Any, array: np.ndarray) -> Any:
    """With memory of its own."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(np.array(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))
