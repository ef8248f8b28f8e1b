"""Which format a file has, by its content first.

Names of files only help where the content says nothing. What isn't read is in `foreign`.
"""

from jgaprune.converters.formats.archive import open_archive
from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.foreign import (
    DISTRIBUTED_ADVICE,
    KERAS_ADVICE,
    explain_archive,
    explain_foreign,
    is_distributed_part,
)
from jgaprune.converters.formats.llama2c import llama2c_faults

READABLE = ".pth/.pt/.th (a state_dict), .safetensors, .npz, .bin (llama2.c's), or an Orbax folder"

_LEGACY_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number of old PyTorch files as a pickle, whatever its protocol."""


def detect(data: bytes, suffix: str) -> str:
    """Return the format of a file: "pth", "safetensors", "npz" or "llama2c".

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
    if _LEGACY_TORCH in data[:64]:
        return "pth"
    header_size = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and (header_size + 8 <= len(data) or suffix == ".safetensors"):
        return "safetensors"
    if not llama2c_faults(data):
        return "llama2c"
    raise FormatError(_explain(data, suffix.lower()))


def _detect_zip(data: bytes) -> str:
    names = open_archive(data).namelist()
    if explanation := explain_archive(names):
        raise FormatError(explanation)
    last_parts = {name.rsplit("/", 1)[-1] for name in names}
    if "data.pkl" in last_parts:
        return "pth"
    if "model.weights.h5" in last_parts:
        raise FormatError(f"is a Keras file, which isn't read. {KERAS_ADVICE}")
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise FormatError(f"is a zip file of something else. Readable are {READABLE}")


def _explain(data: bytes, suffix: str) -> str:
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
