"""What a converter must know of one architecture. The networks themselves are its siblings.

Everything here speaks of PyTorch's tensor names and shapes: they are what files hold.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx

from jgaprune.converters.models.hf_config import HfConfig
from jgaprune.model import Preprocessing

Config = dict[str, Any]
"""An architecture's arguments by name."""
Shapes = dict[str, tuple[int, ...]]
"""Tensor shapes by name, in PyTorch's names and layouts, wrapper prefixes removed."""


def no_flatten(config: Config) -> dict[str, tuple[int, int, int]]:
    """For networks in which no dense layer reads flattened feature maps."""
    return {}


def always(shapes: Shapes) -> bool:
    """For networks that are cheap to compare with a file."""
    return True


def no_tokens(config: Config) -> int | None:
    """For networks whose inputs are no tokens."""
    return None


def none_derived(name: str) -> bool:
    """For networks whose files hold weights and statistics only."""
    return False


def none_as_in_flax(leaf: str) -> bool:
    """For networks whose dense layers are all stored as PyTorch stores them."""
    return False


def none_tied(shapes: Shapes) -> None:
    """For networks in which no two layers may share their weights."""


def second_token(config: Config) -> int:
    """1, which begins a text in SentencePiece's vocabularies."""
    return 1


def nothing_told(shapes: Shapes) -> tuple[str, ...]:
    """For networks whose files hold nothing but weights and statistics."""
    return ()


def same_names(shapes: Shapes) -> dict[str, str]:
    """For networks whose tensor names are fixed."""
    return {}


class Architecture(NamedTuple):
    """How to build one network, and how files of it look.

    Attributes:
      name: what `load` is called with.
      build: `config, rngs -> module`; run abstractly, so it never makes real weights. Its
        attribute names are PyTorch's.
      infer: `shapes -> config`: every argument, read off the tensors, with a default where
        they don't tell. It never raises; a file that doesn't fit is found out afterwards.
      input_shape: `config -> shape` of one input, channels last.
      preprocessing: how stored images become inputs.
      flattened: `config -> {layer: (channels, height, width)}` of dense layers that read
        flattened feature maps: their inputs change order with the layout.
      is_likely: `shapes -> ` whether a file may hold this network: a glance at it, so that
        guessing doesn't build deep networks in vain.
      renamed: `shapes -> {our tensor name: the file's}` where names are the author's choice.
      vocabulary: `config -> ` how many tokens there are; None for other inputs than tokens.
      is_derived: whether a tensor of that name, such as a table of positions, holds what the
        network computes by itself: it may tell arguments, and has no leaf.
      is_as_in_flax: whether the tensor of the leaf of that name is stored (in, out), as Flax has
        it, and not (out, in).
      tied: `shapes -> ` the file's names of a head and of the embedding that it may be one with:
        files may hold both; None where nothing is tied.
      padding: whether inputs may be padded with tokens -1.
      start_token: `config -> ` the token that text begins with.
      hf: what a Hugging Face `config.json` tells, or None.
      assumed: names of arguments that weights don't tell, so that `infer` only has defaults.
      told: `shapes -> ` those of `assumed` that other tensors of this file tell.
    """

    name: str
    build: Callable[[Config, nnx.Rngs], nnx.Module]
    infer: Callable[[Shapes], Config]
    input_shape: Callable[[Config], tuple[int, ...]]
    preprocessing: Preprocessing
    flattened: Callable[[Config], dict[str, tuple[int, int, int]]] = no_flatten
    is_likely: Callable[[Shapes], bool] = always
    renamed: Callable[[Shapes], dict[str, str]] = same_names
    vocabulary: Callable[[Config], int | None] = no_tokens
    is_derived: Callable[[str], bool] = none_derived
    is_as_in_flax: Callable[[str], bool] = none_as_in_flax
    tied: Callable[[Shapes], tuple[str, str] | None] = none_tied
    padding: bool = False
    start_token: Callable[[Config], int] = second_token
    hf: HfConfig | None = None
    assumed: tuple[str, ...] = ()
    told: Callable[[Shapes], tuple[str, ...]] = nothing_told


def rows_of(shapes: Shapes, name: str, default: int) -> int:
    """Outputs of the layer whose weight is `name`: its first axis in PyTorch's layout.

    A weight without values tells nothing.

    >>> rows_of({"linear.weight": (100, 64)}, "linear.weight", 10)
    100
    """
    shape = shapes.get(name, ())
    return shape[0] if min(shape, default=0) > 0 else default
