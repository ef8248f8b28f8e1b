"""PyTorch files (`.pth`, `.pt`, `.th`) without torch: the two containers of torch.save.

Since torch 1.6 a file is a zip with `data.pkl` and one entry per storage; before, it was a row
of pickles followed by the raw storages. Both as written by `torch/serialization.py`. What a
pickle may contain is decided in `torch_pickle`, which of its dicts is meant in `state_dict`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jgaprune.converters.formats.archive import Archive, open_archive, read_entry
from jgaprune.converters.formats.errors import FormatError, check_unpacked_size
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.state_dict import select
from jgaprune.converters.formats.tensor_refs import SAVE_AGAIN, StorageRef, TensorRef
from jgaprune.converters.formats.torch_pickle import HOOKS
from jgaprune.converters.formats.unpickler import load

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First value in a file from before torch 1.6."""

_LEGACY_PROTOCOL = 1001


class _Contents(NamedTuple):
    """The pickled value, how to get a storage's bytes, and their byte order."""

    root: Any
    fetch: Callable[[StorageRef], memoryview]
    is_big_endian: bool


def read_pth(data: FileBytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read the weights of a PyTorch file.

    Args:
      data: the whole file.

    Returns:
      C-contiguous arrays under their exact names, views of the file where it is not compressed,
      one array for tied tensors; and the plain values that stood beside them.

    Raises:
      FormatError: if the file is refused, damaged, or holds no unambiguous state_dict.
    """
    contents = _read_zip(data) if data[:2] == b"PK" else _read_legacy(data)
    references, plain = select(contents.root)
    scalars = {name: value for name, value in plain.items() if type(value) is TensorRef}
    wanted = [*references.values(), *scalars.values()]
    check_unpacked_size(sum(reference.num_bytes for reference in wanted), len(data))
    arrays = _read_tensors(wanted, contents)
    tensors = {name: arrays[reference] for name, reference in references.items()}
    values = {name: arrays[reference].item() for name, reference in scalars.items()}
    return tensors, plain | values


def _read_zip(data: FileBytes) -> _Contents:
    archive = open_archive(data)
    names = archive.names()
    pickles = [name for name in names if name.endswith("data.pkl")]
    prefix = pickles[0].removesuffix("data.pkl")
    if len(pickles) > 1:
        raise FormatError(f"has {len(pickles)} pickles where one is expected. {SAVE_AGAIN}")
    byte_order = b"little"
    if prefix + "byteorder" in names:
        byte_order = bytes(read_entry(archive, prefix + "byteorder"))
    if byte_order not in (b"little", b"big"):
        raise FormatError(f"has the unknown byte order {byte_order!r:.20}. {SAVE_AGAIN}")
    root, _ = load(bytes(read_entry(archive, pickles[0])), HOOKS)
    return _Contents(root, _zip_storages(archive, prefix), byte_order == b"big")


def _zip_storages(archive: Archive, prefix: str) -> Callable[[StorageRef], memoryview]:
    def fetch(storage: StorageRef) -> memoryview:
        raw = read_entry(archive, f"{prefix}data/{storage.key}")
        _check_size(storage, len(raw))
        return raw

    return fetch


def _read_legacy(data: FileBytes) -> _Contents:
    """Legacy storages are little-endian on every machine."""
    seen: dict[str, StorageRef] = {}

    def persistent_load(identifier: Any) -> StorageRef:
        storage = HOOKS.persistent_load(identifier)
        first = seen.setdefault(storage.key, storage)
        if (first.dtype, first.num_items) != (storage.dtype, storage.num_items):
            raise FormatError(f"declares a storage twice, with two types or sizes. {SAVE_AGAIN}")
        return storage

    magic, position = load(data, HOOKS)
    protocol, position = load(data, HOOKS, position)
    if (magic, protocol) != (LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise FormatError(f"is no PyTorch file of a known version. {SAVE_AGAIN}")
    _system, position = load(data, HOOKS, position)
    root, position = load(data, HOOKS._replace(persistent_load=persistent_load), position)
    keys, position = load(data, HOOKS, position)
    ranges = _legacy_ranges(data, position, [seen[key] for key in _storage_keys(keys)])
    return _Contents(root, lambda storage: memoryview(data)[ranges[storage.key]], False)


def _storage_keys(keys: Any) -> list[str]:
    """The keys if they are texts; hashing anything else from a file might never end."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise FormatError(f"lists its storages by something that is no text. {SAVE_AGAIN}")
    return keys


def _legacy_ranges(data: FileBytes, position: int, storages: list[StorageRef]) -> dict[str, slice]:
    """Where each storage lies: a 64-bit item count, then the items."""
    ranges = {}
    for storage in storages:
        num_items = int.from_bytes(data[position : position + 8], "little")
        width = storage.num_bytes // storage.num_items if storage.num_items else 1
        _check_size(storage, num_items * width)
        start, position = position + 8, position + 8 + num_items * width
        if position > len(data):
            raise FormatError(
                f"ends inside the storage {storage.key!r:.40}. The file is truncated: copy or "
                "download it again"
            )
        ranges[storage.key] = slice(start, position)
    return ranges


def _check_size(storage: StorageRef, num_bytes: int) -> None:
    if num_bytes != storage.num_bytes:
        raise FormatError(
            f"declares {storage.num_bytes} bytes for the storage {storage.key!r:.40} but holds "
            f"{num_bytes}. The file is damaged: copy or download it again"
        )


def _read_tensors(references: list[TensorRef], contents: _Contents) -> dict[TensorRef, np.ndarray]:
    """Read storage by storage, so that a storage with many tensors is read once."""
    by_storage: dict[StorageRef, list[TensorRef]] = {}
    for reference in references:
        by_storage.setdefault(reference.storage, []).append(reference)
    arrays = {}
    for storage, members in by_storage.items():
        raw = contents.fetch(storage)
        arrays.update({member: _to_array(member, raw, contents) for member in members})
    return arrays


def _to_array(reference: TensorRef, raw: memoryview, contents: _Contents) -> np.ndarray:
    dtype = reference.dtype
    if reference.num_bytes == 0:
        return np.empty(reference.shape, dtype)
    if contents.is_big_endian:
        width = dtype.itemsize // (2 if dtype.kind == "c" else 1)
        raw = memoryview(np.frombuffer(raw, f">u{width}").astype(f"<u{width}").tobytes())
    strides = [stride * dtype.itemsize for stride in reference.strides]
    offset = reference.offset * dtype.itemsize
    view = np.ndarray(reference.shape, dtype, raw, offset, strides)
    return np.ascontiguousarray(view).reshape(reference.shape)
