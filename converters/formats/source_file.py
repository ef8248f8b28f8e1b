"""What reading a weight file yields, and the checksum that identifies a folder."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class SourceFile:
    """The contents of a weight file, unchanged: names, layouts and types are the source's."""

    path: str
    """Absolute path."""
    format: str
    """One of "pth", "safetensors", "npz", "keras", "hdf5", "llama2c", "orbax", "hf"."""
    sha256: str
    """Of the file's bytes, or of a folder's files (`folder_sha256`): all of an Orbax folder, the
    configuration, index and weights of a Hugging Face folder."""
    tensors: dict[str, np.ndarray]
    """Exact names of the file, a `module.` prefix included; bfloat16 as `ml_dtypes.bfloat16`.
    Those of a large file are views of it, not to be written to; copy what shall outlive it."""
    metadata: dict[str, object]
    """Plain values that stood beside the tensors, for example `best_prec1`."""
    config: dict[str, Any] | None = None
    """The `config.json` of a Hugging Face folder, as it is there."""


def folder_sha256(folder: str, names: Iterable[str] | None = None) -> str:
    """Checksum over the name, length and bytes of files in a folder, in the order of their names.

    Args:
      folder: where they are.
      names: paths relative to it, by default of all files below.
    """
    digest = hashlib.sha256()
    for name in sorted(files_below(folder) if names is None else names):
        size = os.path.getsize(os.path.join(folder, name))
        digest.update(f"{name}\0{size}\0".encode())
        with open(os.path.join(folder, name), "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()


def files_below(folder: str) -> list[str]:
    """Relative paths of all files below a folder, with forward slashes, sorted."""
    paths = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    return sorted(os.path.relpath(path, folder).replace(os.sep, "/") for path in paths)
