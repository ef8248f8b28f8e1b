"""What the names in a PyTorch pickle mean: the allow-list.

Every allowed name becomes a function or value from this file, so torch is never needed and
nothing is imported. Tensors become references (`tensor_refs`); their bytes are read by `pth`.
"""

import re
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.machine import Constructor, Hooks, check_key
from jgaprune.converters.formats.tensor_refs import (
    SAVE_AGAIN,
    StorageRef,
    TensorRef,
    sizes,
    tensor_ref,
)


@dataclass(frozen=True)
class StorageType:
    """A storage class; `dtype` is None for raw bytes."""

    dtype: np.dtype | None


@dataclass
class NumpyDtype:
    """A numpy number type under construction: its byte order arrives after it was memoised."""

    code: str
    order: str = "<"


_MODULES = ("torch.nn.modules", "__main__", "torchvision.", "torch.fx", "timm.", "transformers.")
_PARTS_OF_TORCH = ("torch.", "numpy.", "builtins.", "__builtin__.", "collections.")
_QUANTISED = re.compile(
    r"rebuild_qtensor|QU?Int\d+(x\d+)?Storage|\.qu?int\d|quantized|torchao|bitsandbytes"
)


def find_global(module: str, name: str) -> Any:
    """Return what an allowed name stands for.

    Raises:
      FormatError: for every name outside the allow-list; it is neither imported nor called.

    >>> find_global("torch", "float16")
    dtype('float16')
    """
    try:
        return _ALLOWED[module, name]
    except KeyError:
        raise FormatError(_refusal(f"{module}.{name}")) from None


def persistent_load(identifier: Any) -> StorageRef:
    """Return the storage that a persistent id of torch.save describes."""
    if type(identifier) is not tuple or len(identifier) not in (5, 6):
        raise FormatError(f"names a storage in an unknown way. {SAVE_AGAIN}")
    tag, kind, key, _location, num_items = identifier[:5]
    view = identifier[5] if len(identifier) == 6 else None
    if tag != "storage" or type(kind) is not StorageType or type(key) is not str:
        raise FormatError(f"names a storage in an unknown way. {SAVE_AGAIN}")
    start, _ = (0, 0) if view is None else sizes(view[1:3])
    return StorageRef(key, kind.dtype, *sizes((num_items,)), start)


def set_state(value: Any, state: Any) -> None:
    """Drop the state of dicts and tensors; take the byte order of a numpy type.

    A state_dict carries its module versions as state, an old Parameter its gradient flags:
    neither says anything about the weights.
    """
    if type(value) is NumpyDtype and type(state) is tuple and state[1] in ("<", ">", "|"):
        value.order = state[1]
    elif not (type(value) in (dict, TensorRef) and type(state) in (dict, tuple)):
        raise FormatError(
            f"sets the state of a {type(value).__name__}; nothing was executed. {SAVE_AGAIN}"
        )


HOOKS = Hooks(find_global, persistent_load, set_state)
"""The meaning of a PyTorch pickle, for `unpickler.load`."""


def _refusal(name: str) -> str:
    shown = name if len(name) <= 120 else name[:120] + "..."
    opened = "If you trust the file, open it with torch.load(path, weights_only=False) and save"
    alone = f"{opened} the weights alone: torch.save(model.state_dict(), 'weights.pth')"
    if _QUANTISED.search(name):
        reason = "it holds quantised tensors"
        advice = "Save the weights from before they were quantised, in float32 or bfloat16"
    elif name.startswith(_MODULES):
        reason = "it holds a whole pickled module instead of weights"
        advice = f"{opened} its weights alone: torch.save(module.state_dict(), 'weights.pth')"
    elif name.startswith(_PARTS_OF_TORCH):
        reason, advice = "only plain tensors and values are read", alone
    else:
        reason = "it holds an object of a class, such as a whole module, or settings of a training"
        advice = alone
    return f"is refused: its pickle uses {shown!r}, and {reason}. Nothing was executed. {advice}"


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *flags_and_hooks: Any
) -> TensorRef:
    if len(flags_and_hooks) > 2 and flags_and_hooks[2]:
        raise FormatError(
            "has a lazily conjugated or negated tensor. Save it after tensor.resolve_conj()"
            ".resolve_neg()"
        )
    dtype = storage.dtype if type(storage) is StorageRef else None
    return tensor_ref(storage, dtype, offset, shape, strides)


def _rebuild_typed_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _gradient: Any, _hooks: Any, dtype: Any
) -> TensorRef:
    return tensor_ref(storage, dtype, offset, shape, strides)


def _parameter(data: Any, *_flags_and_hooks: Any) -> TensorRef:
    if type(data) is not TensorRef:
        raise FormatError(f"has a parameter without a tensor. {SAVE_AGAIN}")
    return data


def _dict(items: Any = ()) -> dict[Any, Any]:
    pairs = items.items() if type(items) is dict else items
    return {check_key(key): value for key, value in pairs}


def _set(items: Any = ()) -> set[Any]:
    return {check_key(item) for item in items}


def _device(kind: Any, index: Any = None) -> str:
    parts = (kind,) if index is None else (kind, index)
    return ":".join(part if type(part) is str else str(int(part)) for part in parts)


def _latin_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Bytes as protocol 2 has to write them."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise FormatError(f"has text in an unknown encoding. {SAVE_AGAIN}")
    return text.encode("latin1")


def _numpy_dtype(code: Any, *_flags: Any) -> NumpyDtype:
    if type(code) is not str or not re.fullmatch(r"[biufc]\d{1,2}", code):
        raise FormatError(f"has a numpy value that is no number. {SAVE_AGAIN}")
    return NumpyDtype(code)


def _numpy_scalar(dtype: Any, raw: Any) -> Any:
    if type(dtype) is not NumpyDtype or type(raw) is not bytes:
        raise FormatError(f"has a numpy value that is no number. {SAVE_AGAIN}")
    return np.frombuffer(raw, np.dtype(dtype.order + dtype.code)).reshape(()).item()


_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_EXTENSION_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
_DTYPES = {name: np.dtype(name) for name in _STORAGES.values() if name != "bfloat16"}
_DTYPES |= {name: np.dtype(name) for name in ("uint16", "uint32", "uint64")}
_DTYPES |= {name: np.dtype(getattr(ml_dtypes, name)) for name in _EXTENSION_DTYPES}

_CONSTRUCTORS = {
    ("collections", "OrderedDict"): _dict,
    ("collections", "Counter"): _dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_typed_tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch", "Size"): sizes,
    ("torch", "device"): _device,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("builtins", "bytes"): _latin_bytes,
    ("__builtin__", "bytes"): _latin_bytes,
    ("_codecs", "encode"): _latin_bytes,
    ("numpy", "dtype"): _numpy_dtype,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
}

_ALLOWED: dict[tuple[str, str], Any] = {
    **{key: Constructor(".".join(key), build) for key, build in _CONSTRUCTORS.items()},
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
    **{("torch", name): StorageType(_DTYPES[dtype]) for name, dtype in _STORAGES.items()},
    ("torch", "UntypedStorage"): StorageType(None),
    ("torch.storage", "UntypedStorage"): StorageType(None),
}
