"""A tiny writer of PyTorch containers, independent of torch and of the reader under test.

It emits pickle opcodes by hand, so that tests can also write what torch.save never would.
"""

import io
import struct
import zipfile

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
}


class Raw(bytes):
    """Opcodes that go into the pickle as they are."""


def emit(value):
    """Opcodes of a plain value; `Raw` parts are taken over."""
    if isinstance(value, Raw):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return b"(" + b"".join(map(emit, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(emit, value)) + b"e"
    return b"}(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"


def pickled(value):
    return b"\x80\x02" + emit(value) + b"."


def named(module, name):
    return Raw(f"c{module}\n{name}\n".encode())


def call(function, *arguments):
    return Raw(emit(function) + emit(arguments) + b"R")


def storage(key, dtype, num_items):
    identifier = ("storage", named("torch", STORAGES[dtype]), key, "cpu", num_items)
    return Raw(emit(identifier) + b"Q")


def tensor(key, dtype, num_items, shape, strides=None, offset=0):
    """A `_rebuild_tensor_v2` call; strides default to contiguous."""
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    hooks = call(named("collections", "OrderedDict"))
    view = (storage(key, dtype, num_items), offset, shape, strides, False, hooks)
    return call(named("torch._utils", "_rebuild_tensor_v2"), *view)


def ordered(items):
    """An OrderedDict with the module versions that torch attaches as state."""
    filled = emit(call(named("collections", "OrderedDict"))) + emit(items)[1:]
    return Raw(filled + emit({"_metadata": {"": {"version": 1}}}) + b"b")


def zip_container(root, storages, extra=None, compression=zipfile.ZIP_STORED, stem="archive"):
    """A file as torch >= 1.6 writes it; `storages` are bytes by key, `stem` the file's name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(f"{stem}/data.pkl", root if type(root) is bytes else pickled(root))
        for key, raw in storages.items():
            archive.writestr(f"{stem}/data/{key}", raw)
        for name, raw in (extra or {f"{stem}/version": b"3\n"}).items():
            archive.writestr(name, raw)
    return buffer.getvalue()


def legacy_container(root, storages, itemsize=4, keys=None):
    """A file as torch < 1.6 writes it; `keys` replaces the list of storages."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    parts = [pickled(value) for value in head]
    parts += [
        root if type(root) is bytes else pickled(root),
        pickled(list(storages) if keys is None else keys),
    ]
    for raw in storages.values():
        parts += [struct.pack("<q", len(raw) // itemsize), raw]
    return b"".join(parts)


def container(kind, root, storages, itemsize=4):
    if kind == "zip":
        return zip_container(root, storages)
    return legacy_container(root, storages, itemsize)
