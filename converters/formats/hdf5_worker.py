"""A program of its own that looks into an HDF5 file: the HDF5 library may crash on a damaged one.

Run as `python hdf5_worker.py` with the file as standard input, a request as JSON in the first
argument, and a file as standard output; `hdf5` does so. It imports nothing of jgaprune, because
that takes seconds. What lies in one piece is only located, so that the caller takes it from the
file's own bytes; the rest (compressed, chunked, tiny) is copied out.

The answer: one line of JSON, then the copied bytes one after another. The JSON has one of
- `"tensors"`: `[{"name", "dtype", "shape", "offset"}]`, where `offset` is the place in the file or
  null for the next copied bytes; and `"attributes"`: `{group or dataset: {name: value}}`;
- `"fault"`: why the file is refused;
- `"damaged"`: what the library said of it;
- `"lacks"`: the module that is not installed.
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

_MOST_OBJECTS = 200_000
_MOST_AXES = 32
_MOST_CHUNK_BYTES = 2**24
_FREE_BYTES = 2**26
_BUILT_IN_FILTERS = {1, 2, 3}
"""Deflate, shuffle and checksum; any other is code to be loaded from somewhere."""
_ATTRIBUTES = ("name", "dtype", "backend", "keras_version", "model_config")
_LISTS = ("layer_names", "weight_names")
"""Lists of names; long ones are spread over `layer_names0`, `layer_names1`, ..."""


class _RefusedError(Exception):
    """The file holds what is not read; the message goes after its path."""


def main() -> None:
    """Answers one request: `{"max_bytes": of all arrays, "cpu_seconds": for all of it}`."""
    request = json.loads(sys.argv[1])
    # Filters from anywhere would be foreign code.
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    try:
        import h5py
    except ImportError as error:
        _answer({"lacks": str(error)})
        return
    _limit_time(request["cpu_seconds"])
    with os.fdopen(os.dup(0), "rb") as file:
        _limit_memory(2 * file.seek(0, os.SEEK_END))
        report, datasets = look_into(h5py, file, request["max_bytes"])
        _answer(report)
        _limit_memory(2 * sum(map(_num_bytes, datasets)))
        for dataset in datasets:
            sys.stdout.buffer.write(_contents(dataset))
    sys.stdout.buffer.flush()


def look_into(h5py: Any, file: Any, max_bytes: int) -> tuple[dict[str, Any], list[Any]]:
    """The JSON of the answer, and the datasets to copy out after it."""
    try:
        file_bytes = file.seek(0, os.SEEK_END)
        root = h5py.File(file, "r")
        datasets, attributes = {}, {"": _attributes(root)}
        for name, item in _objects(h5py, root):
            if isinstance(item, h5py.Dataset):
                datasets[name] = item
            found = _attributes(item)
            if found:
                attributes[name] = found
        tensors = [
            _located(name, item, attributes.get(name, {}), file_bytes)
            for name, item in datasets.items()
        ]
        _check_total(datasets.values(), max_bytes)
    except _RefusedError as refusal:
        return {"fault": str(refusal)}, []
    # The library's errors are of many classes.
    except Exception as error:
        return {"damaged": f"{type(error).__name__}: {error}"[:300]}, []
    copied = [datasets[t["name"]] for t in tensors if t["offset"] is None]
    return {"tensors": tensors, "attributes": attributes}, copied


def _objects(h5py: Any, root: Any) -> Iterator[tuple[str, Any]]:
    """All groups and datasets below the root with their paths; each may be met only once."""
    seen = {h5py.h5o.get_info(root.id).addr}
    waiting = [("", root)]
    while waiting:
        path, group = waiting.pop()
        for key in sorted(group):
            name = f"{path}/{key}" if path else key
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise _RefusedError(
                    f"has a link at {name!r:.80} to another place or file, which isn't followed. "
                    "Save the weights again with Keras"
                )
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) > _MOST_OBJECTS:
                raise _RefusedError(
                    f"has one object under two names at {name!r:.80}, or too many objects. It is "
                    "damaged or was made to exhaust memory: save the weights again with Keras"
                )
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append((name, item))
            elif not isinstance(item, h5py.Dataset):
                continue
            yield name, item


def _located(name: str, item: Any, attributes: dict[str, Any], file_bytes: int) -> dict[str, Any]:
    """Type, shape and place of a dataset; nothing of its contents is read."""
    import h5py

    shape = item.shape
    dtype = _dtype_name(item.dtype, attributes)
    if shape is None or dtype is None:
        raise _RefusedError(
            f"holds {name!r:.80} of type {item.dtype!s:.40}, which is no number type. Keep arrays "
            "of numbers in a weight file"
        )
    if len(shape) > _MOST_AXES or item.is_virtual or item.external:
        raise _RefusedError(
            f"keeps the values of {name!r:.80} in other files or has too many axes, which isn't "
            "read. Save the weights again with Keras"
        )
    plist, offset = item.id.get_create_plist(), None
    layout = plist.get_layout()
    if layout == h5py.h5d.CONTIGUOUS and _num_bytes(item):
        offset = item.id.get_offset()
        if offset is None or offset + _num_bytes(item) > file_bytes:
            raise _RefusedError(
                f"declares {_num_bytes(item):,} bytes for {name!r:.80}, which lie outside the "
                "file. The file is truncated or damaged: copy or download it again"
            )
    elif layout == h5py.h5d.CHUNKED:
        _check_chunks(name, item, plist)
    return {"name": name, "dtype": dtype, "shape": list(shape), "offset": offset}


def _check_chunks(name: str, item: Any, plist: Any) -> None:
    filters = {plist.get_filter(index)[0] for index in range(plist.get_nfilters())}
    if not filters <= _BUILT_IN_FILTERS:
        raise _RefusedError(
            f"compresses {name!r:.80} with a plug-in filter (number {max(filters)}), which isn't "
            "loaded. Repack the file: h5repack -f GZIP=4 old.h5 new.h5"
        )
    if math.prod(item.chunks) * item.dtype.itemsize > max(2 * _num_bytes(item), _MOST_CHUNK_BYTES):
        raise _RefusedError(
            f"has chunks of {item.chunks} for {name!r:.80} of shape {item.shape}. It is damaged "
            "or was made to exhaust memory: save the weights again with Keras"
        )


def _num_bytes(item: Any) -> int:
    return math.prod(item.shape) * item.dtype.itemsize


def _check_total(datasets: Any, max_bytes: int) -> None:
    total = sum(map(_num_bytes, datasets))
    if total > max_bytes:
        raise _RefusedError(
            f"declares {total:,} bytes of contents; at most {max_bytes:,} are accepted for a file "
            "of its size. It is damaged or was made to exhaust memory: save the weights again "
            "without compression"
        )


def _dtype_name(dtype: Any, attributes: dict[str, Any]) -> str | None:
    """NumPy's name with byte order; Keras keeps bfloat16 as two opaque bytes and a note."""
    if dtype.kind in "iuf" and dtype.names is None and dtype.itemsize <= 8:
        return dtype.str
    if dtype.kind == "b" or (dtype.kind == "i" and dtype.itemsize == 1):
        return dtype.str
    is_bfloat16 = dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None
    return "bfloat16" if is_bfloat16 and attributes.get("dtype") == "bfloat16" else None


def _attributes(item: Any) -> dict[str, Any]:
    """The attributes that Keras writes, as texts and lists of texts."""
    found: dict[str, Any] = {}
    for name in item.attrs:
        kind = name.rstrip("0123456789")
        if name not in _ATTRIBUTES and kind not in _LISTS:
            continue
        shape = item.attrs.get_id(name).shape
        if len(shape) > 1 or math.prod(shape) > _MOST_OBJECTS:
            raise _RefusedError(f"has an attribute {name!r:.40} of the shape {shape!s:.40}")
        value = item.attrs[name]
        if name in _ATTRIBUTES:
            found[name] = _text(value)
        else:
            found.setdefault(kind, []).append((name, [_text(one) for one in value]))
    for kind in _LISTS:
        if kind in found:
            parts = sorted(found[kind], key=lambda part: (len(part[0]), part[0]))
            found[kind] = [text for _, texts in parts for text in texts]
    return found


def _text(value: Any) -> str:
    return value.decode("utf8") if isinstance(value, bytes) else str(value)


def _contents(dataset: Any) -> bytes:
    contents: bytes = dataset[()].tobytes()
    return contents


def _limit_time(cpu_seconds: int) -> None:
    resource = _resource()
    if resource:
        _lower(resource, resource.RLIMIT_CPU, cpu_seconds)
        _lower(resource, resource.RLIMIT_CORE, 0)


def _limit_memory(num_bytes: int) -> None:
    """Lets this process grow by so many bytes and a little for names, where the system tells."""
    resource = _resource()
    if resource and os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        limit = pages * resource.getpagesize() + num_bytes + _FREE_BYTES
        _lower(resource, resource.RLIMIT_AS, limit)


def _resource() -> Any:
    """The module for limits, or None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource


def _lower(resource: Any, kind: int, limit: int) -> None:
    """Sets the soft limit, as far as the hard one lets it."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _answer(report: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    main()
