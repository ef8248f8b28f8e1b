"""Foreign weights to Flax and back.

`load` turns a weight file into a `Model`, `from_torch` any PyTorch module and `from_keras` any
Keras model; `export` writes pruned weights and masks back as files in the source's own names,
layouts and dtypes, which `to_source` and `masks_to_source` give as arrays.
"""

from jgaprune.converters.catalog import assumed_arguments, list_models
from jgaprune.converters.errors import ConversionError
from jgaprune.converters.export import masks_from_source, masks_to_source, to_source
from jgaprune.converters.from_torch import from_torch
from jgaprune.converters.guess import guess
from jgaprune.converters.keras.from_keras import from_keras, to_keras
from jgaprune.converters.load import load
from jgaprune.converters.masks_file import load_masks, pack_masks, torch_snippet, unpack_masks
from jgaprune.converters.targets import Exported, export
from jgaprune.converters.to_torch import to_torch
from jgaprune.converters.untrained import untrained

__all__ = [
    "ConversionError",
    "Exported",
    "assumed_arguments",
    "export",
    "from_keras",
    "from_torch",
    "guess",
    "list_models",
    "load",
    "load_masks",
    "masks_from_source",
    "masks_to_source",
    "pack_masks",
    "to_keras",
    "to_source",
    "to_torch",
    "torch_snippet",
    "unpack_masks",
    "untrained",
]
