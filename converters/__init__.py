"""Foreign weights to Flax and back.

`load` turns a weight file into a `Model`, `from_torch` any PyTorch module; `to_source` and
`masks_to_source` give pruned weights and masks back in the source's own names, layouts and dtypes.
"""

from jgaprune.converters.catalog import assumed_arguments, list_models
from jgaprune.converters.errors import ConversionError
from jgaprune.converters.export import (
    masks_from_source,
    masks_to_source,
    pack_masks,
    to_source,
    unpack_masks,
)
from jgaprune.converters.from_torch import from_torch
from jgaprune.converters.guess import guess
from jgaprune.converters.keras.from_keras import from_keras, to_keras
from jgaprune.converters.load import load
from jgaprune.converters.untrained import untrained

__all__ = [
    "ConversionError",
    "assumed_arguments",
    "from_keras",
    "from_torch",
    "guess",
    "list_models",
    "load",
    "masks_from_source",
    "masks_to_source",
    "pack_masks",
    "to_keras",
    "to_source",
    "unpack_masks",
    "untrained",
]
