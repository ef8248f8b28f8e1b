"""Hugging Face folders: `config.json` and the weights, in one file or in shards with an index.

Read as `from_pretrained` of transformers finds them: one `.safetensors`, else its shards, else
`pytorch_model.bin`, else its shards. What `config.json` means is up to the architectures.
"""

import os
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import bytes_of
from jgaprune.converters.formats.hf_index import (
    is_shard_name,
    listing,
    tensor_faults,
    unlisted_shards,
)
from jgaprune.converters.formats.json_text import MAX_JSON_BYTES, parse_json

CONFIG = "config.json"
_ADVICE = "Download the whole folder again, or save it again with model.save_pretrained(folder)"
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

_KINDS = {".safetensors": "safetensors", ".bin": "pth"}

Contents = tuple[dict[str, np.ndarray], dict[str, object]]
"""Tensors and metadata of one file."""
ReadFile = Callable[[str, str], Contents]
"""Reads a file that must be "pth" or "safetensors"."""


class HfModel(NamedTuple):
    """What a folder holds."""

    tensors: dict[str, np.ndarray]
    metadata: dict[str, object]
    config: dict[str, Any] | None
    files: list[str]
    """Names of the files that were read, sorted."""


def holds_hf_model(inside: Collection[str]) -> bool:
    """Whether a folder with these files is one of a Hugging Face model."""
    return any(name in inside for name in _WEIGHTS)


def read_hf(folder: str, read_file: ReadFile) -> HfModel:
    """Read all weights of a folder.

    Args:
      folder: for which `holds_hf_model` is true.
      read_file: reads one weight file.

    Returns:
      The tensors shard by shard, `config.json` if there is one, and which files they are from.

    Raises:
      FormatError: listing everything that is wrong: files that are missing, damaged or links out
        of the folder, shards and tensors that the index lacks or has elsewhere.
    """
    inside = sorted(os.listdir(folder))
    source = next(name for name in _WEIGHTS if name in inside)
    faults: list[str] = []
    config = _json(folder, CONFIG, faults) if CONFIG in inside else None
    if source.endswith(".json"):
        shards = _read_shards(folder, inside, source, read_file, faults)
    else:
        shards = _read_all(folder, [source], read_file, faults)
    if faults:
        listed = "\n  ".join(faults)
        raise FormatError(f"is no whole Hugging Face model:\n  {listed}\n{_ADVICE}")
    tensors = {name: array for part, _ in shards.values() for name, array in part.items()}
    metadata = {name: value for _, part in shards.values() for name, value in part.items()}
    head = {CONFIG, source} & set(inside)
    return HfModel(tensors, metadata, config, sorted(head | set(shards)))


def _read_shards(
    folder: str,
    inside: list[str],
    source: str,
    read_file: ReadFile,
    faults: list[str],
) -> dict[str, Contents]:
    """The shards that the index `source` lists; what is wrong with them is added to `faults`."""
    index = _json(folder, source, faults)
    if index is None:
        return {}
    weight_map = index.get("weight_map")
    if type(weight_map) is not dict or not weight_map:
        faults.append(f"{source} has no weight_map of tensors to files")
        return {}
    suffix = os.path.splitext(source.removesuffix(".index.json"))[1]
    files = list(weight_map.values())
    listed = {name for name in files if is_shard_name(name, suffix)}
    odd = sorted({f"{name!r:.200}" for name in files if not is_shard_name(name, suffix)})
    named = {
        f"{source} lists what is no name of a {suffix} file beside it": odd,
        "missing files": [f"{name!r}" for name in sorted(listed - set(inside))],
        "shards that the index lacks": unlisted_shards(inside, source, listed),
    }
    faults += [f"{title}: {listing(names)}" for title, names in named.items() if names]
    shards = _read_all(folder, sorted(listed & set(inside)), read_file, faults)
    faults += tensor_faults(weight_map, {name: list(part) for name, (part, _) in shards.items()})
    return shards


def _read_all(
    folder: str, names: list[str], read_file: ReadFile, faults: list[str]
) -> dict[str, Contents]:
    """The files that can be read; why the others can't is added to `faults`."""
    contents = {}
    for name in names:
        try:
            contents[name] = read_file(inside_of(folder, name), _KINDS[os.path.splitext(name)[1]])
        except FormatError as error:
            faults.append(f"{name} {error}")
        except Exception as error:
            faults.append(f"{name} is damaged ({type(error).__name__})")
    return contents


def _json(folder: str, name: str, faults: list[str]) -> dict[str, Any] | None:
    """A JSON file of the folder, or None and one more fault."""
    try:
        return parse_json(bytes_of(inside_of(folder, name))[: MAX_JSON_BYTES + 1])
    except FormatError as error:
        faults.append(f"{name} {error}")
    return None


def inside_of(folder: str, name: str) -> str:
    """The real path of a file, which lies in the folder or in the cache that the folder is of.

    The cache of huggingface_hub keeps `snapshots/REVISION/NAME` as links to `blobs/HASH`.

    Raises:
      FormatError: it lies elsewhere, or is no regular file.
    """
    home, path = os.path.realpath(folder), os.path.realpath(os.path.join(folder, name))
    roots = [home]
    if os.path.basename(os.path.dirname(home)) == "snapshots":
        roots.append(os.path.join(os.path.dirname(os.path.dirname(home)), "blobs"))
    if not any(os.path.commonpath([root, path]) == root for root in roots):
        raise FormatError(f"is a link out of the folder, to {path:.200}. Put the file itself there")
    if not os.path.isfile(path):
        raise FormatError("is no regular file, or a link that leads nowhere")
    return path
