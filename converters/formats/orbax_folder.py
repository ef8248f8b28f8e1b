"""Orbax folders, read only: as written by `StandardCheckpointer` or `PyTreeCheckpointer`.

Writing them is `jgaprune.checkpoint`. Reading needs no Orbax: `_METADATA`
lists the arrays, and TensorStore, with which Orbax writes them, opens each. Its headers are
checked before any array is read, because an allocation that fails there ends the process.
Format: https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html.
"""

import json
import math
import os
import re
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from jgaprune.converters.formats.errors import FormatError, check_unpacked_size
from jgaprune.converters.formats.foreign_folder import explain_foreign_folder
from jgaprune.converters.formats.source_file import files_below

_MARK = "_METADATA"
"""Every checkpoint of a tree of arrays has this file."""
_TEXTS = "_strings.json"


def is_checkpoint(inside: Collection[str]) -> bool:
    """Whether a folder with these files holds the arrays of a checkpoint itself."""
    return _MARK in inside


def find_checkpoint(folder: str) -> str:
    """Return the folder that holds the arrays: this one, or its only item.

    Args:
      folder: a checkpoint, or a step of a CheckpointManager with a single item.

    Raises:
      FormatError: if it is another kind of folder; the message says what to give instead.
    """
    inside = sorted(os.listdir(folder))
    if is_checkpoint(inside):
        return folder
    items = [name for name in inside if os.path.isfile(os.path.join(folder, name, _MARK))]
    if len(items) == 1 and not items[0].isdigit():
        return os.path.join(folder, items[0])
    raise FormatError(_explain_folder(folder, inside, items))


def read_orbax(folder: str) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read all arrays of a checkpoint, whatever devices wrote it.

    Args:
      folder: what `find_checkpoint` returned.

    Returns:
      Arrays named by their path joined with ".", and single texts as metadata.

    Raises:
      FormatError: if two paths have one name, or the checkpoint is too large for its folder.
    """
    with open(os.path.join(folder, _MARK), encoding="utf-8") as file:
        description = json.load(file)
    kinds = _kinds_by_name(description["tree_metadata"].values())
    arrays = [name for name, kind in kinds.items() if kind != "string"]
    if not arrays:
        raise FormatError("is an Orbax checkpoint without arrays. Give one that holds weights")
    stores = {name: _open_array(folder, description, name) for name in arrays}
    sizes = [os.path.getsize(os.path.join(folder, name)) for name in files_below(folder)]
    check_unpacked_size(sum(map(_num_bytes, stores.values())), sum(sizes))
    return {name: store.read().result() for name, store in stores.items()}, _texts(folder)


def _kinds_by_name(entries: Iterable[Any]) -> dict[str, str]:
    """Name every leaf that has a value; empty dicts and None have none."""
    kinds: dict[str, str] = {}
    for entry in entries:
        value = entry["value_metadata"]
        name = ".".join(str(part["key"]) for part in entry["key_metadata"])
        if ".." in re.split(r"[/\\]", name) or name.startswith(("/", "\\")):
            raise FormatError(
                f"has a value named {name!r:.80}, which as a path leads out of the folder. Nothing "
                "outside is read: rename it and save again"
            )
        if name in kinds:
            raise FormatError(
                f"has two values named {name!r:.80} once their paths are joined with '.'. Rename "
                "one and save again"
            )
        if not value["skip_deserialize"]:
            kinds[name] = value["value_type"]
    return kinds


def _open_array(folder: str, description: dict[str, Any], name: str) -> Any:
    """Open one array; only its header is read."""
    import tensorstore

    files = {"driver": "file", "path": os.path.join(folder, "")}
    if description["use_ocdbt"]:
        place = {"driver": "ocdbt", "base": files, "path": f"{name}/"}
    else:
        place = {"driver": "file", "path": os.path.join(folder, name, "")}
    driver = "zarr3" if description.get("use_zarr3") else "zarr"
    return tensorstore.open({"driver": driver, "kvstore": place}, open=True, read=True).result()


def _num_bytes(store: Any) -> int:
    """Memory for an array, or for its largest chunk if that is more."""
    layout = store.chunk_layout
    shapes = (store.shape, layout.read_chunk.shape, layout.write_chunk.shape)
    num_items = max(math.prod(size or 1 for size in shape or ()) for shape in shapes)
    return num_items * np.dtype(store.dtype.numpy_dtype).itemsize


def _texts(folder: str) -> dict[str, object]:
    path = os.path.join(folder, _TEXTS)
    if not os.path.isfile(path):
        return {}
    with open(path, encoding="utf-8") as file:
        texts = json.load(file)
    return {name: text for name, text in texts.items() if type(text) is str}


def _explain_folder(folder: str, inside: list[str], items: list[str]) -> str:
    steps = [name for name in inside if name.isdigit()]
    weights = [name for name in inside if name.endswith((".safetensors", ".pth", ".pt", ".npz"))]
    if explanation := explain_foreign_folder(folder, inside):
        return explanation
    if len(items) > 1:
        return f"holds several Orbax items; give one of {_listing(folder, items)}"
    if steps:
        return f"holds steps of a CheckpointManager; give one of {_listing(folder, steps)}"
    if weights:
        return f"is a folder; give one of its files: {_listing(folder, weights)}"
    if "config.json" in inside:
        return (
            "holds config.json, but no model.safetensors or pytorch_model.bin, whole or in shards. "
            "Download the whole folder again"
        )
    return (
        f"is a folder without an Orbax checkpoint (no {_MARK} inside; it may be incomplete) and "
        "without the weights of a Hugging Face model. Give a weight file, or a folder that holds "
        "one of both"
    )


def _listing(folder: str, names: list[str]) -> str:
    shown = ", ".join(os.path.join(folder, name) for name in names[:4])
    return shown + (", ..." if len(names) > 4 else "")
