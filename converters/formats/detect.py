"""Which format a file has, by its content first.

Names of files only help where the content says nothing. What isn't read is in `foreign`.
"""

from jgaprune.converters.formats.archive import open_archive
from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.foreign import (
    DISTRIBUTED_ADVICE,
    KERAS_ADVICE,
    explain_archive,
    explain_foreign,
    is_distributed_part,
)
from jgaprune.converters.formats.hdf5 import SIGNATURE
from jgaprune.converters.formats.keras_file import WEIGHTS_ENTRY
from jgaprune.converters.formats.llama2c import llama2c_faults

READABLE = (
    ".pth/.pt/.th (a state_dict), .safetensors, .npz, .keras/.h5 (Keras), .bin (llama2.c's), or a "
    "folder of Orbax or Hugging Face"
)

_LEGACY_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number of old PyTorch files as a pickle, whatever its protocol."""


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
    if is_distributed_part(suffix):
        raise FormatError(f"is a part of a checkpoint of torch.distributed. {DISTRIBUTED_ADVICE}")
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
    if explanation := explain_archive(names):
        raise FormatError(explanation)
    last_parts = {name.rsplit("/", 1)[-1] for name in names}
    if "data.pkl" in last_parts:
        return "pth"
    if WEIGHTS_ENTRY in names:
        return "keras"
    if "config.json" in names and "metadata.json" in names:
        raise FormatError(f"is a Keras file without {WEIGHTS_ENTRY}. {KERAS_ADVICE}")
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise FormatError(f"is a zip file of something else. Readable are {READABLE}")


def _explain(data: FileBytes, suffix: str) -> str:
    """Name a foreign format, or say what is readable."""
    if explanation := explain_foreign(data, suffix):
        return explanation
    if suffix == ".bin":
        return (
            f"has no known format: a .bin is PyTorch's or llama2.c's, and for the latter "
            f"{llama2c_faults(data)}. Copy or download it again, or save it as .safetensors"
        )
    return (
        "has no known format, or its beginning is damaged. Readable are "
        f"{READABLE}; copy or download the file again if it should be one of them"
    )
