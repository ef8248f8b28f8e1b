"""Mask spaces: what a genome means.

A space turns a genome into boolean masks shaped like the parameters. Every mask it can produce
has exactly the asked number of kept weights, so objectives need no penalty. Functions here see
one genome; batching happens in `engine`. A new space is a file here with a builder, one export,
and one row in the tests' table.
"""

from jgaprune.spaces.bases import bases, order_of
from jgaprune.spaces.levels import levels
from jgaprune.spaces.offsets import offsets
from jgaprune.spaces.scores import scores
from jgaprune.spaces.weights import weights

__all__ = ["bases", "levels", "offsets", "order_of", "scores", "weights"]
