"""Orbax folders, read only: as written by `StandardCheckpointer` or `PyTreeCheckpointer`.

Saving and resuming a search is `jgaprune.checkpoint`. Orbax is imported when it is needed: it
takes seconds.
"""

import math
import os
from typing import Any

import numpy as np

from jgaprune.converters.formats.errors import FormatError, check_unpacked_size
from jgaprune.converters.formats.source_file import files_below

_MARK = "_METADATA"
"""Every checkpoint of a tree of arrays has this file."""


def find_checkpoint(folder: str) -> str:
    """Return the folder that holds the arrays: this one, or its only item.

    Args:
      folder: a checkpoint, or a step of a CheckpointManager with a single item.

    Raises:
      FormatError: if it is another kind of folder; the message says what to give instead.
    """
    inside = sorted(os.listdir(folder))
    if _MARK in inside:
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
    import jax
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        described = checkpointer.metadata(folder).item_metadata.tree
        leaves = jax.tree_util.tree_leaves_with_path(described)
        structure = jax.tree_util.tree_structure(described)
        _check_leaves(folder, [leaf for _, leaf in leaves])
        kinds = [np.ndarray if _is_array(leaf) else str for _, leaf in leaves]
        restore_args = [ocp.RestoreArgs(restore_type=kind) for kind in kinds]
        tree = checkpointer.restore(
            folder, restore_args=jax.tree_util.tree_unflatten(structure, restore_args)
        )
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    values = dict(zip(names, jax.tree_util.tree_leaves(tree), strict=True))
    if len(values) < len(names):
        raise FormatError("has two arrays of one name once paths are joined with '.'; rename one")
    arrays = {name: v for name, v in values.items() if isinstance(v, np.ndarray)}
    return arrays, {name: v for name, v in values.items() if isinstance(v, str)}


def _is_array(leaf: Any) -> bool:
    """Texts have no shape in Orbax's description."""
    return getattr(leaf, "shape", None) is not None


def _check_leaves(folder: str, leaves: list[Any]) -> None:
    """Compare the declared sizes with the folder's before anything is allocated."""
    arrays = [leaf for leaf in leaves if _is_array(leaf)]
    num_bytes = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in arrays)
    sizes = [os.path.getsize(os.path.join(folder, name)) for name in files_below(folder)]
    check_unpacked_size(num_bytes, sum(sizes))
    if not arrays:
        raise FormatError("is an Orbax checkpoint without arrays. Give one that holds weights")


def _explain_folder(folder: str, inside: list[str], items: list[str]) -> str:
    steps = [name for name in inside if name.isdigit()]
    weights = [name for name in inside if name.endswith((".safetensors", ".pth", ".pt", ".npz"))]
    if "saved_model.pb" in inside:
        return (
            "is a TensorFlow SavedModel, which isn't read. In Keras, save the arrays: "
            "numpy.savez('weights.npz', **{w.path: w.numpy() for w in model.weights})"
        )
    if len(items) > 1:
        return f"holds several Orbax items; give one of {_listing(folder, items)}"
    if steps:
        return f"holds steps of a CheckpointManager; give one of {_listing(folder, steps)}"
    if weights:
        return f"is a folder; give one of its files: {_listing(folder, weights)}"
    return (
        f"is a folder without an Orbax checkpoint (no {_MARK} inside; it may be incomplete). Give "
        "a weight file, or the folder that a StandardCheckpointer wrote"
    )


def _listing(folder: str, names: list[str]) -> str:
    shown = ", ".join(os.path.join(folder, name) for name in names[:4])
    return shown + (", ..." if len(names) > 4 else "")
