"""Keras files: `.keras`, `.weights.h5` and the older `.h5`, without Keras.

Nothing of a model's configuration is ever built or run by Keras: it is text here, and what can be
made of it is decided in `jgaprune.converters.keras`. Layouts as written by
`keras/src/saving/saving_lib.py` and `keras/src/legacy/saving/legacy_h5_format.py`:

- `.weights.h5`: `layers/dense_1/vars/0`, numbered in the order in which the layer made them;
- `.keras`: a zip of such a file, `config.json` and `metadata.json`;
- `.h5` of a model: `model_weights/dense_1/.../kernel:0`, the configuration in an attribute;
- `.h5` of weights, of Keras 2: `dense_1/.../kernel:0`.
"""

import re

import numpy as np

from jgaprune.converters.formats.archive import open_archive, read_entry
from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.hdf5 import HDF5File, read_hdf5
from jgaprune.converters.formats.json_text import parse_json

WEIGHTS_ENTRY = "model.weights.h5"
_CONFIG_ENTRY, _VERSIONS_ENTRY = "config.json", "metadata.json"
_OLD_WEIGHTS = "model_weights"


def read_keras(data: FileBytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read a `.keras` file.

    Args:
      data: the whole file.

    Returns:
      Arrays by their paths in the file, and as metadata what there is of `config` (a dict),
      `keras_version` and `layers`: `{layer: names of its tensors}`, in the file's order.

    Raises:
      FormatError: if the file is damaged or refused.
    """
    archive = open_archive(data)
    config = parse_json(bytes(read_entry(archive, _CONFIG_ENTRY)))
    versions = parse_json(bytes(read_entry(archive, _VERSIONS_ENTRY)))
    tensors, metadata = read_keras_hdf5(read_entry(archive, WEIGHTS_ENTRY))
    return tensors, {**metadata, "config": config, **versions}


def read_keras_hdf5(
    data: FileBytes | memoryview,
) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read a `.weights.h5` or an `.h5` file; the rest is as in `read_keras`."""
    file = read_hdf5(data)
    layers = _layers(file)
    order = [name for names in layers.values() for name in names]
    rest = sorted(file.tensors.keys() - set(order), key=_natural)
    tensors = {name: file.tensors[name] for name in (*order, *rest)}
    own = file.attributes[""]
    metadata: dict[str, object] = {"layers": layers} if layers else {}
    if "keras_version" in own:
        metadata["keras_version"] = own["keras_version"]
    if "model_config" in own:
        metadata["config"] = parse_json(own["model_config"].encode())
    return tensors, metadata


def _layers(file: HDF5File) -> dict[str, list[str]]:
    """Names of the tensors of each layer, in the order in which the layer made them."""
    for top in (_OLD_WEIGHTS, ""):
        names = file.attributes.get(top, {}).get("layer_names")
        if names is not None:
            prefix = f"{top}/" if top else ""
            return _old_layers(file, prefix, [*names, "top_level_model_weights"])
    layers: dict[str, list[str]] = {}
    for name in sorted(file.tensors, key=_natural):
        layer, _, number = name.rpartition("/")
        if layer.endswith("vars") and number.isdecimal():
            layers.setdefault(layer.removesuffix("vars").removesuffix("/"), []).append(name)
    return layers


def _old_layers(file: HDF5File, prefix: str, names: list[str]) -> dict[str, list[str]]:
    """The layers of an older file, which lists them and their tensors."""
    layers, missing = {}, []
    for layer in names:
        weights = file.attributes.get(prefix + layer, {}).get("weight_names", [])
        layers[layer] = [f"{prefix}{layer}/{weight}" for weight in weights]
        missing += [name for name in layers[layer] if name not in file.tensors]
    if missing:
        raise FormatError(
            f"lists {len(missing)} weights that it doesn't hold: {', '.join(missing[:8])!s:.300}. "
            "The file is incomplete: copy or download it again"
        )
    return layers


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key under which `vars/2` comes before `vars/10`, however many digits there are."""
    parts: list[str] = re.findall("[0-9]+|[^0-9]+", name)
    digits = [part.lstrip("0") if part[0] in "0123456789" else None for part in parts]
    return tuple(
        (-1, part) if number is None else (len(number), number)
        for part, number in zip(parts, digits, strict=True)
    )
