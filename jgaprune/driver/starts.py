"""Where distilling starts from: refitted weights, or those that were trained along with masks.

Trained weights have seen hundreds of steps more, but belong to the masks at the end of their own
training; refitted ones belong to the masks they are for. Which are fitter is measured.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jgaprune.driver.contenders import fittest
from jgaprune.report import Measure
from jgaprune.types import Buffers, Masks, Params

Entry = tuple[Masks, Params, Buffers]
"""Masks, and the weights and statistics that belong to them."""


class Start(NamedTuple):
    """Masks with the weights to distil.

    Attributes:
      entry: the masks and what belongs to them.
      worth: their fitness; nothing else is measured.
      origin: of the weights, "refitted" or "trained".
    """

    entry: Entry
    worth: Measure
    origin: str


def choose_starts(
    entries: Mapping[str, Entry],
    measures: Mapping[str, Measure],
    trained: Callable[[Masks], Entry] | None,
    fitness: Callable[..., float | None],
) -> dict[str, Start]:
    """The fitter start of every candidate, by its name.

    Args:
      entries: candidates as refitted.
      measures: what they are worth.
      trained: masks with the weights that were trained along with some; None if none were.
      fitness: of an entry's parts, on inputs held out.
    """
    starts = {name: Start(one, measures[name], "refitted") for name, one in entries.items()}
    if trained is None:
        return starts
    return {name: _fitter(one, trained(one.entry[0]), fitness) for name, one in starts.items()}


def _fitter(usual: Start, other: Entry, fitness: Callable[..., float | None]) -> Start:
    """The usual start, unless the other is fitter."""
    both = (usual, Start(other, Measure(fitness(*other), None), "trained"))
    by_origin = {one.origin: one for one in both}
    return by_origin[fittest({one.origin: one.worth for one in both})]
