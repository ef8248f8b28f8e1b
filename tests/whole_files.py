"""Whole weight files of every format that is read: to be damaged, or read twice."""

import json
import struct
from collections.abc import Callable

import numpy as np
from formats_writer import legacy_container, ordered, tensor, zip_container
from keras_files import dense_stack, hdf5_bytes, keras_bytes, layer, old_bytes

from jgaprune.checkpoint import save_tree
from jgaprune.converters.formats import write_npz, write_safetensors

Files = dict[str, bytes]
"""Bytes by path: one file, or those of a folder."""
ONE = ""
"""The path where there is but one file."""

_ARRAY = np.random.default_rng(0).standard_normal(64).astype(np.float32)


def whole_files(kind: str, folder) -> list[Files]:
    """Files of a format that can be read; `folder` is empty and may be used."""
    return _WHOLE[kind](folder)


def _root():
    layers = {f"l{i}.w": tensor(str(i), "float32", 64, (8, 8), (1, 8)) for i in range(3)}
    return {"epoch": 1, "state_dict": ordered(layers)}


_STORAGES = {str(number): _ARRAY.tobytes() for number in range(3)}


def _zips(_folder) -> list[Files]:
    return [{ONE: zip_container(_root(), _STORAGES, compression=how)} for how in (0, 8)]


def _legacy(_folder) -> list[Files]:
    return [{ONE: legacy_container(_root(), _STORAGES)}]


def _written(write) -> Callable[..., list[Files]]:
    def whole(folder) -> list[Files]:
        write(folder / "w", {"a": _ARRAY, "b": _ARRAY.reshape(8, 8), "c": np.array(1)})
        return [{ONE: (folder / "w").read_bytes()}]

    return whole


def _llama(_folder) -> list[Files]:
    sizes = (8, 12, 2, 2, 1, 16, 4)
    num_floats = 16 * 8 + 2 * (8 + 64 + 2 * 32 + 64 + 8 + 3 * 96) + 8 + 2 * 4 * 2
    return [{ONE: struct.pack("<7i", *sizes) + bytes(4 * num_floats)}]


def _orbax(folder) -> list[Files]:
    save_tree(folder / "o", {"a": _ARRAY.reshape(8, 8), "b": {"c": np.arange(3)}})
    return [_files_of(folder / "o"), _plain_orbax(folder / "p")]


def _plain_orbax(folder) -> Files:
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer(use_ocdbt=False) as checkpointer:
        checkpointer.save(folder, {"a": _ARRAY, "step": 7})
    return _files_of(folder)


def _hf(folder) -> list[Files]:
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, key in zip(names, "ab", strict=True):
        write_safetensors(folder / name, {key: _ARRAY, f"{key}2": _ARRAY.reshape(8, 8)})
    places = {key + more: name for name, key in zip(names, "ab", strict=True) for more in ("", "2")}
    config = json.dumps({"model_type": "x", "sizes": [1, 2], "text": {"a": {"b": 1}}}).encode()
    index = json.dumps({"metadata": {}, "weight_map": places}).encode()
    sharded = _files_of(folder) | {"config.json": config, "model.safetensors.index.json": index}
    return [
        sharded,
        {"config.json": config, "pytorch_model.bin": zip_container(_root(), _STORAGES)},
    ]


_STACK = dense_stack((4, 3, 2), np.random.default_rng(0))
_DENSE = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            layer("InputLayer", "in", batch_shape=[None, 4]),
            layer("Dense", "dense", activation="relu", units=3),
            layer("Dense", "dense_1", activation="softmax", units=2),
        ],
    },
}


def _hdf5(_folder) -> list[Files]:
    layers = {
        name: {"kernel": _STACK[f"layers/{name}/vars/0"], "bias": _STACK[f"layers/{name}/vars/1"]}
        for name in ("dense", "dense_1")
    }
    packed = {f"layers/dense/vars/{i}": np.tile(_ARRAY, 64).reshape(64, 64) for i in range(2)}
    packing = {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (16, 64)}
    whole = hdf5_bytes(_STACK), old_bytes(_DENSE, layers), hdf5_bytes(packed, **packing)
    return [{ONE: data} for data in whole]


def _keras(_folder) -> list[Files]:
    return [{ONE: keras_bytes(_DENSE, _STACK)}]


def _files_of(folder) -> Files:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


_WHOLE: dict[str, Callable[..., list[Files]]] = {
    "pth zip": _zips,
    "pth legacy": _legacy,
    "safetensors": _written(write_safetensors),
    "npz": _written(write_npz),
    "llama2c": _llama,
    "orbax": _orbax,
    "hf": _hf,
    "hdf5": _hdf5,
    "keras": _keras,
}
KINDS = tuple(_WHOLE)
WITH_H5PY = ("hdf5", "keras")
