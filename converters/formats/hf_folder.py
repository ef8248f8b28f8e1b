"""Hugging Face folders: `config.json` and the weights, in one file or in shards with an index."""

import json
import os
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from jgaprune.converters.formats.errors import FormatError

CONFIG = "config.json"
_ONE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"

Contents = tuple[dict[str, np.ndarray], dict[str, object]]


class HfModel(NamedTuple):
    """What a folder holds."""

    tensors: dict[str, np.ndarray]
    metadata: dict[str, object]
    config: dict[str, Any] | None


def holds_hf_model(inside: Collection[str]) -> bool:
    """Whether a folder with these files is one of a Hugging Face model."""
    return _ONE_FILE in inside or _INDEX in inside


def read_hf(folder: str, read_file: Callable[[str], Contents]) -> HfModel:
    """Read all weights of a folder, and `config.json` if there is one.

    Args:
      folder: for which `holds_hf_model` is true.
      read_file: reads one weight file.

    Raises:
      FormatError: if the index names files that are not there, or a shard lacks a tensor.
    """
    inside = os.listdir(folder)
    config = _json(folder, CONFIG) if CONFIG in inside else None
    if _ONE_FILE in inside:
        return HfModel(*read_file(os.path.join(folder, _ONE_FILE)), config)
    place_of: dict[str, str] = _json(folder, _INDEX)["weight_map"]
    shards = sorted(set(place_of.values()))
    if missing := [name for name in shards if name not in inside]:
        raise FormatError(f"lacks {', '.join(missing)}. Download the whole folder again")
    contents = [read_file(os.path.join(folder, name)) for name in shards]
    tensors = {name: array for part, _ in contents for name, array in part.items()}
    if tensors.keys() != place_of.keys():
        odd = ", ".join(sorted(tensors.keys() ^ place_of.keys())[:8])
        raise FormatError(f"has shards that differ from the index: {odd}. Download it again")
    return HfModel(tensors, contents[0][1], config)


def _json(folder: str, name: str) -> dict[str, Any]:
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return json.load(file)
