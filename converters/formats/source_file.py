"""What reading a weight file yields, and the checksum that identifies the file."""

import hashlib
import os
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SourceFile:
    """The contents of a weight file, unchanged: names, layouts and types are the source's."""

    path: str
    """Absolute path."""
    format: str
    """One of "pth", "safetensors", "npz", "keras", "hdf5", "llama2c", "orbax"."""
    sha256: str
    """Of the file's bytes, or of an Orbax folder's files (`folder_sha256`)."""
    tensors: dict[str, np.ndarray]
    """Exact names of the file, a `module.` prefix included; bfloat16 as `ml_dtypes.bfloat16`."""
    metadata: dict[str, object]
    """Plain values that stood beside the tensors, for example `best_prec1`."""


def file_sha256(data: bytes) -> str:
    """Checksum of a file's bytes, in hexadecimal.

    >>> file_sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def folder_sha256(folder: str) -> str:
    """Checksum over the relative path, length and bytes of every file, sorted by path."""
    digest = hashlib.sha256()
    for name in files_below(folder):
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
