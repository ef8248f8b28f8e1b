"""Weight files of other frameworks and our own: reading is safe, writing is atomic.

`read` recognises a file by its content and returns its arrays unchanged. Nothing in a file is
ever executed, and torch isn't needed. What the names and layouts mean for a model is not known
here: that is `jgaprune.converters.models`.
"""

import os

from jgaprune.converters.formats.detect import READABLE, detect
from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import (
    FileBytes,
    bytes_of,
    file_sha256,
    forget_array,
)
from jgaprune.converters.formats.hf_folder import Contents, holds_hf_model, read_hf
from jgaprune.converters.formats.keras_file import read_keras, read_keras_hdf5
from jgaprune.converters.formats.keras_writer import write_keras
from jgaprune.converters.formats.llama2c import read_llama2c, write_llama2c
from jgaprune.converters.formats.npz import read_npz, write_npz
from jgaprune.converters.formats.orbax_folder import (
    find_checkpoint,
    is_checkpoint,
    read_orbax,
)
from jgaprune.converters.formats.pth import read_pth
from jgaprune.converters.formats.pth_writer import torch_available, write_pth
from jgaprune.converters.formats.safetensors_file import read_safetensors, write_safetensors
from jgaprune.converters.formats.source_file import SourceFile, folder_sha256

__all__ = [
    "FormatError",
    "SourceFile",
    "forget_array",
    "read",
    "torch_available",
    "write_keras",
    "write_llama2c",
    "write_npz",
    "write_pth",
    "write_safetensors",
]

_READERS = {
    "pth": read_pth,
    "safetensors": read_safetensors,
    "npz": read_npz,
    "keras": read_keras,
    "hdf5": read_keras_hdf5,
    "llama2c": read_llama2c,
}


def read(path: str | os.PathLike[str]) -> SourceFile:
    """Read a weight file, an Orbax folder or a Hugging Face folder.

    Args:
      path: a `.pth`/`.pt`/`.th` with a state_dict, a `.safetensors`, a `.npz`, a `.keras`,
        an `.h5` of Keras, a `.bin` of llama2.c, a folder written by Orbax's
        `StandardCheckpointer`, or one of Hugging Face with `model.safetensors` or
        `pytorch_model.bin`, in shards or not. The content decides, not the name.

    Returns:
      The arrays under their exact names, in the file's layout and type, and where they come
      from. Tied tensors of a `.pth` share one array. Those of a file of 16 MiB or more are
      views of the file, read when they are looked at: replace it, but don't overwrite it in
      place as long as you use them.

    Raises:
      FormatError: if the path doesn't exist or can't be read, or the file is damaged, of
        another format, or contains anything but tensors and plain values.
    """
    absolute = os.path.abspath(os.path.expanduser(path))
    try:
        return _read_folder(absolute) if os.path.isdir(absolute) else _read_file(absolute)
    except FormatError as error:
        raise FormatError(f"{absolute} {error}") from error.__cause__
    # Whatever a damaged file makes the parsers stumble over is the file's fault.
    except Exception as error:
        raise FormatError(
            f"{absolute} is damaged ({type(error).__name__}). Copy or download it again, or save "
            "the weights again"
        ) from error


def _read_file(path: str) -> SourceFile:
    data = _regular_file(path)
    kind = detect(data, os.path.splitext(path)[1])
    tensors, metadata = _READERS[kind](data)
    return SourceFile(path, kind, file_sha256(data), tensors, metadata)


def _read_folder(path: str) -> SourceFile:
    inside = os.listdir(path)
    if holds_hf_model(inside) and not is_checkpoint(inside):
        return _read_hf_folder(path)
    folder = find_checkpoint(path)
    tensors, metadata = read_orbax(folder)
    return SourceFile(path, "orbax", folder_sha256(path), tensors, metadata)


def _read_hf_folder(path: str) -> SourceFile:
    model = read_hf(path, _read_hf_file)
    sha256 = folder_sha256(path, model.files)
    return SourceFile(path, "hf", sha256, model.tensors, model.metadata, model.config)


def _read_hf_file(path: str, kind: str) -> Contents:
    data = bytes_of(path)
    found = detect(data, os.path.splitext(path)[1])
    if found != kind:
        raise FormatError(f"is a {found} file where a {kind} file is expected")
    return _READERS[kind](data)


def _regular_file(path: str) -> FileBytes:
    if not os.path.exists(path):
        raise FormatError(f"does not exist. Give the path of a weight file: {READABLE}")
    if not os.path.isfile(path):
        raise FormatError(f"is no regular file. Give the path of a weight file: {READABLE}")
    return bytes_of(path)
