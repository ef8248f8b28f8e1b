"""A module's own tensors: what of them a model can hold, and under which names.

Leaves have their names in the `state_dict`, but that a batch-norm's `running_mean` and
`running_var` are called `mean` and `var`, as everywhere. A tensor with several names, such as a
tied embedding, is one leaf under its first.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from jgaprune.converters.errors import ConversionError

_RENAMED = {"running_mean": "mean", "running_var": "var"}


class State(NamedTuple):
    """The tensors of a module.

    Attributes:
      leaves: leaf name by `state_dict` name, in the order of the `state_dict`.
      tensors: torch tensors by leaf name.
      parameters: which leaves are parameters, not buffers.
    """

    leaves: dict[str, str]
    tensors: dict[str, Any]
    parameters: frozenset[str]


def state_of(module: Any) -> State:
    """Names a module's tensors.

    Raises:
      ConversionError: tensors are quantised, sparse, complex, on no device, or beyond the range
        of JAX's integers, or the `state_dict` holds other things; all are listed.
    """
    entries = module.state_dict(keep_vars=True)
    _check(entries)
    leaves: dict[str, str] = {}
    tensors: dict[str, Any] = {}
    leaf_of: dict[int, str] = {}
    for name, tensor in entries.items():
        if id(tensor) not in leaf_of:
            leaf_of[id(tensor)] = _leaf_name(name, entries)
        leaves[name] = leaf_of[id(tensor)]
        tensors.setdefault(leaves[name], tensor)
    parameters = {leaf_of[id(p)] for p in module.parameters() if id(p) in leaf_of}
    return State(leaves, tensors, frozenset(parameters))


def as_array(tensor: Any, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """A torch tensor as a NumPy array of a type that JAX has, its axes reordered."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()  # NumPy knows no bfloat16
    array = tensor.numpy()
    array = array if axes is None else array.transpose(axes)
    return np.array(array, jax.dtypes.canonicalize_dtype(array.dtype), order="C")


def dtype_name(dtype: Any) -> str:
    """NumPy's name of a torch dtype."""
    return str(dtype).removeprefix("torch.")


def _leaf_name(name: str, entries: dict[str, Any]) -> str:
    layer, dot, last = name.rpartition(".")
    renamed = layer + dot + _RENAMED.get(last, last)
    return name if renamed in entries else renamed


def _check(entries: dict[str, Any]) -> None:
    faults = [f"{name} is {why}" for name, entry in entries.items() if (why := _fault(entry))]
    if faults:
        raise ConversionError(
            f"{'; '.join(faults)}. Pass a module with dense weights of real numbers: dequantise "
            "or densify it, materialise it on a device, or load the checkpoint it was made from."
        )


def _fault(entry: Any) -> str:
    """Why a model can't hold an entry of a `state_dict`, or nothing."""
    if not hasattr(entry, "layout"):
        return f"no tensor but a {type(entry).__name__}"
    if entry.is_quantized:
        return f"quantised ({dtype_name(entry.dtype)})"
    if str(entry.layout) != "torch.strided":
        return f"sparse ({str(entry.layout).removeprefix('torch.')})"
    if entry.is_complex():
        return f"complex ({dtype_name(entry.dtype)})"
    if entry.is_meta:
        return "on the meta device, without values"
    return _range_fault(entry)


def _range_fault(entry: Any) -> str:
    if entry.is_floating_point() or dtype_name(entry.dtype) != "int64" or not entry.numel():
        return ""
    limits = np.iinfo(jax.dtypes.canonicalize_dtype(np.int64))
    low, high = int(entry.min()), int(entry.max())
    if limits.min <= low and high <= limits.max:
        return ""
    return f"beyond the range of {limits.dtype} ({low}..{high}; jax_enable_x64 has a wider one)"
