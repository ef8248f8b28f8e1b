"""Writing Hugging Face folders: new weights beside what else `from_pretrained` needs.

Configuration, tokeniser and code are copied from the folder that the weights came from.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.hf_folder import CONFIG, inside_of
from jgaprune.converters.formats.safetensors_file import write_safetensors

WEIGHTS = "model.safetensors"
_OF_OTHER_WEIGHTS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".keras", ".msgpack", ".onnx"),
    *(".gguf", ".npz", ".tflite", ".pb", ".index.json"),
)


def find_hf_folder(path: str | os.PathLike[str]) -> Path | None:
    """The Hugging Face folder that weights came from: `path`, or the folder that it is in."""
    place = Path(path)
    folder = place if place.is_dir() else place.parent
    return folder if (folder / CONFIG).is_file() else None


def write_hf(path: str | os.PathLike[str], tensors: Mapping[str, Any], *, source: Path) -> None:
    """Make a folder that `from_pretrained` takes, in one `model.safetensors`.

    Args:
      path: the folder to make; it must not be there.
      tensors: arrays by name, of NumPy or JAX.
      source: the folder that `find_hf_folder` found; its files are copied, apart from weights.

    Raises:
      FormatError: an array can't be stored, a file is a link out of the folder, or the operating
        system refuses.
    """
    place = Path(path)
    try:
        place.mkdir()
        for file in sorted(source.iterdir()):
            if file.is_file() and not file.name.endswith(_OF_OTHER_WEIGHTS):
                shutil.copyfile(inside_of(str(source), file.name), place / file.name)
    except FormatError as error:
        raise FormatError(f"{file} {error}") from error
    except OSError as error:
        raise FormatError(f"{place}: can't be written ({error.strerror})") from error
    # Transformers refuses files that don't say which framework named and laid out the tensors.
    write_safetensors(place / WEIGHTS, tensors, {"format": "pt"})
