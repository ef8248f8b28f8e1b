"""Which format a file has, by its content first; foreign formats with the way that works.

Names of files only help where the content says nothing.
"""

from typing import NamedTuple

from jgaprune.converters.formats.archive import open_archive
from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.hdf5 import SIGNATURE
from jgaprune.converters.formats.keras_file import WEIGHTS_ENTRY
from jgaprune.converters.formats.llama2c import llama2c_faults

READABLE = (
    ".pth/.pt/.th (a state_dict), .safetensors, .npz, .keras/.h5 (Keras), .bin (llama2.c's), or a "
    "folder of Orbax or Hugging Face"
)

_LEGACY_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number of old PyTorch files as a pickle, whatever its protocol."""


class _Foreign(NamedTuple):
    """A format that isn't read."""

    what: str
    start: int
    """Position of the signature."""
    signature: bytes
    suffixes: tuple[str, ...]
    advice: str


_KERAS_ADVICE = (
    "In Keras, save the arrays: numpy.savez('weights.npz', **{w.path: w.numpy() for w in "
    "model.weights})"
)
_ONNX_ADVICE = (
    "ONNX graphs have folded layers and lost names; save the weights in the framework they come "
    "from, e.g. torch.save(model.state_dict(), 'weights.pth')"
)
_PICKLE_ADVICE = (
    "A pickle may run any code. Load it where you trust it and save the arrays: "
    "numpy.savez('weights.npz', **arrays)"
)
_FOREIGN = (
    _Foreign("a TensorFlow Lite file", 4, b"TFL3", (".tflite",), _KERAS_ADVICE),
    _Foreign("a TensorFlow graph", 0, b"\0", (".pb", ".ckpt", ".index"), _KERAS_ADVICE),
    _Foreign("an ONNX file", 0, b"\0", (".onnx",), _ONNX_ADVICE),
    _Foreign(
        "a GGUF file",
        0,
        b"GGUF",
        (".gguf",),
        "Its weights are quantised; take the original model's .safetensors",
    ),
    _Foreign(
        "a single NumPy array",
        0,
        b"\x93NUMPY",
        (".npy",),
        "It has no name; save it with one: numpy.savez('weights.npz', kernel=array)",
    ),
    _Foreign(
        "a tar archive",
        257,
        b"ustar",
        (".tar",),
        "If PyTorch before 0.2 wrote it, load it there and save the state_dict again; else unpack "
        "it",
    ),
    _Foreign(
        "a llama2.c model of a later version",
        0,
        b"24ka",
        (),
        "Export it again with --version 0, or take its .pt",
    ),
    _Foreign(
        "a pointer of Git LFS",
        0,
        b"version https://git-lfs",
        (),
        "The weights themselves are not here: run git lfs pull in that folder",
    ),
    _Foreign("a gzip file", 0, b"\x1f\x8b", (".gz",), "Unpack it first: gunzip"),
    _Foreign("a plain Python pickle", 0, b"\x80", (".pkl", ".pickle", ".joblib"), _PICKLE_ADVICE),
    _Foreign(
        "a Flax msgpack file",
        0,
        b"\0",
        (".msgpack",),
        "Restore it with flax.serialization.msgpack_restore and save the arrays as .npz",
    ),
    _Foreign(
        "a list of shards or a configuration",
        0,
        b"\0",
        (".json",),
        "Give the folder that it lies in",
    ),
)


def detect(data: FileBytes, suffix: str) -> str:
    """Return the format of a file, one of those of `SourceFile` that are no folders.

    Args:
      data: the whole file.
      suffix: end of the file's name, as `.pth`; only used where the content is not decisive.

    Raises:
      FormatError: for empty, foreign and unknown files, with the way that works.

    >>> detect(b"\\x80\\x02" + _LEGACY_TORCH, ".bin")
    'pth'
    """
    if not data:
        raise FormatError("is empty. Copy or download it again")
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _detect_zip(data)
    if data[: len(SIGNATURE)] == SIGNATURE:
        return "hdf5"
    if _LEGACY_TORCH in data[:64]:
        return "pth"
    header_size = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and (header_size + 8 <= len(data) or suffix == ".safetensors"):
        return "safetensors"
    if not llama2c_faults(data):
        return "llama2c"
    raise FormatError(_explain(data, suffix.lower()))


def _detect_zip(data: FileBytes) -> str:
    names = open_archive(data).names()
    last_parts = {name.rsplit("/", 1)[-1] for name in names}
    # The outermost folder is called like the file, so it may be any word.
    folders = {part for name in names for part in name.split("/")[1:-1]}
    if "constants.pkl" in last_parts or ("code" in folders and "data.pkl" in last_parts):
        raise FormatError(
            "is a TorchScript archive, which contains code. In PyTorch: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
        )
    if "archive_format" in last_parts:
        raise FormatError(
            "is a program saved by torch.export. In PyTorch: "
            "torch.save(torch.export.load(path).state_dict, 'weights.pth')"
        )
    if "data.pkl" in last_parts:
        return "pth"
    if WEIGHTS_ENTRY in names:
        return "keras"
    if "config.json" in names and "metadata.json" in names:
        raise FormatError(f"is a Keras file without {WEIGHTS_ENTRY}. {_KERAS_ADVICE}")
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise FormatError(f"is a zip file of something else. Readable are {READABLE}")


def _explain(data: FileBytes, suffix: str) -> str:
    """Name a foreign format by its signature, or else by its suffix."""
    by_content = (f for f in _FOREIGN if f.signature != b"\0" and _has_signature(data, f))
    by_suffix = (f for f in _FOREIGN if suffix in f.suffixes)
    for foreign in (*by_content, *by_suffix):
        return f"is {foreign.what}, which isn't read. {foreign.advice}"
    if suffix == ".bin":
        return (
            f"has no known format: a .bin is PyTorch's or llama2.c's, and for the latter "
            f"{llama2c_faults(data)}. Copy or download it again, or save it as .safetensors"
        )
    return (
        "has no known format, or its beginning is damaged. Readable are "
        f"{READABLE}; copy or download the file again if it should be one of them"
    )


def _has_signature(data: FileBytes, foreign: _Foreign) -> bool:
    stop = foreign.start + len(foreign.signature)
    return data[foreign.start : stop] == foreign.signature
