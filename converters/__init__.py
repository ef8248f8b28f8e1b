"""Foreign weights to Flax and back.

`load` turns a weight file into a `Model`; `to_source` and `masks_to_source` give pruned
weights and masks back in the file's own names, layouts and dtypes.
"""

from jgaprune.converters.catalog import list_models
from jgaprune.converters.faults import ConversionError
from jgaprune.converters.guess import guess
from jgaprune.converters.load import load

__all__ = ["ConversionError", "guess", "list_models", "load"]
