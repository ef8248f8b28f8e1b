"""PyTorch's network for a converted model, with the weights of the file.

The weights are the file's own arrays, in its layouts; nothing that was converted comes back.
Only imported where torch is asked for.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jgaprune.bench.torch_references import REFERENCES
from jgaprune.converters.catalog import find_architecture
from jgaprune.converters.formats import read
from jgaprune.converters.leaves import is_leaf_name, tensor_name
from jgaprune.converters.names import WRAPPERS
from jgaprune.model import Model

Arrays = Mapping[str, np.ndarray]


def known_network(model: Model) -> nn.Module:
    """PyTorch's network of the model's architecture, with the weights of its file.

    Raises:
      ValueError: there is none, or the file holds Flax leaves, which are converted already.
    """
    name, arrays = model.spec.name, _arrays_of(model)
    if name not in REFERENCES:
        raise ValueError(
            f"no PyTorch network is known for {name}, only for {', '.join(REFERENCES)}. Name your "
            "own: --module package.module:factory."
        )
    if any(is_leaf_name(tensor.name) for _, tensor in model.spec.tensors):
        raise ValueError(
            "this file holds Flax leaves: it was converted before. Verify the file that it was "
            "converted from."
        )
    network = REFERENCES[name](**dict(model.spec.config))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    spelled = find_architecture(name).renamed(shapes)
    ours = {tensor_name(leaf): arrays[tensor.name] for leaf, tensor in model.spec.tensors}
    return _filled(network, {spelled.get(name, name): array for name, array in ours.items()})


def own_network(model: Model, place: str) -> nn.Module:
    """The user's network, with the weights of the model's file. The user's code is executed.

    Args:
      model: as loaded.
      place: `package.module:factory`, where the module can be imported from the current folder,
        and the factory is called without arguments.

    Raises:
      ValueError: there is no such factory, it makes no torch module, or one of other tensors.
    """
    network = _call(place)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{place} made a {type(network).__name__}, not a torch.nn.Module.")
    wanted = network.state_dict().keys()
    arrays = _arrays_of(model)
    return _filled(network, {_name_in(wanted, name): array for name, array in arrays.items()})


def _arrays_of(model: Model) -> dict[str, np.ndarray]:
    if model.spec.source is None:
        raise ValueError("the model comes from no file, so there are no weights to compare with.")
    return read(model.spec.source.path).tensors


def _filled(network: nn.Module, arrays: Arrays) -> nn.Module:
    """The network with these weights in float32, as our model has them.

    Counters and tables of integers that the file lacks stay as they are.
    """
    state = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not tensor.is_floating_point()
    }
    state |= {name: _as_tensor(array) for name, array in _with_shared(network, arrays).items()}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"the file's weights are not those of the PyTorch network: {error}"
        ) from None
    return network


def _with_shared(network: nn.Module, arrays: Arrays) -> Arrays:
    """The arrays, under all names of a tensor: of those a file may hold any."""
    places = {
        name: tensor.data_ptr() for name, tensor in network.state_dict().items() if tensor.numel()
    }
    held = {places[name]: array for name, array in arrays.items() if name in places}
    shared = {name: held[place] for name, place in places.items() if place in held}
    return {**shared, **arrays}


def _as_tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64 if array.dtype.kind in "iub" else np.float32))


def _name_in(wanted: Any, name: str) -> str:
    """The network's name for a tensor of the file: without what wrappers put before it."""
    short = name
    while short not in wanted:
        prefix = next((one for one in WRAPPERS if short.startswith(one)), None)
        if prefix is None:
            return name
        short = short.removeprefix(prefix)
    return short


def _call(place: str) -> Any:
    module_name, colon, factory_name = place.partition(":")
    if not (colon and module_name and factory_name):
        raise ValueError(f"expected package.module:factory, got {place!r}.")
    try:
        with _current_folder_importable():
            module = importlib.import_module(module_name)
            return getattr(module, factory_name)()
    except Exception as error:
        raise ValueError(
            f"{place} can't be called without arguments ({type(error).__name__}: {error}). The "
            "module is looked for in the current folder and among what is installed."
        ) from error


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
