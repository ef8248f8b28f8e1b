"""What is wrong with a list of spaces, alone and together with the evolver and the budget."""

from collections.abc import Iterable

from jgaprune.driver.budget import Budget
from jgaprune.driver.choices import SPACES, unknown_name
from jgaprune.types import MaskSpace

_NOT_REAL = {"levels": "whole numbers", "weights": "bits"}
"""Spaces that evosax cannot search, and what their genomes are."""


def stage_faults(spaces: tuple[object, ...], evolver: object, budget: Budget) -> list[str | None]:
    """Every fault in words; None for what is right.

    Args:
      spaces: of the stages, coarse first.
      evolver: by name, or the caller's own.
      budget: of the run.
    """
    if not spaces:
        return ["space must name at least one space, got none"]
    names = [space for space in spaces if isinstance(space, str)]
    faults = [unknown_name("space", name, SPACES) for name in names]
    faults += [
        f"space must be a name, a MaskSpace, or a list of them, got {space!r}"
        for space in spaces
        if not isinstance(space, str | MaskSpace)
    ]
    faults += [_genome_fault(name, evolver) for name in dict.fromkeys(names)]
    return faults if len(spaces) == 1 else [*faults, *_faults_of_several(spaces, evolver, budget)]


def _faults_of_several(
    spaces: tuple[object, ...], evolver: object, budget: Budget
) -> Iterable[str]:
    num = len(spaces)
    if not isinstance(evolver, str):
        yield (
            f"an evolver of your own is built for one space, got {num} stages; name an evolver, "
            "or use jgaprune.refine between searches of your own"
        )
    elif evolver.startswith("paper"):
        yield (
            f"{evolver} follows one schedule in one space and is never seeded, got {num} stages; "
            "pass one space, or another evolver"
        )
    if any(isinstance(one, MaskSpace) and one.encode is None for one in spaces[1:]):
        yield (
            "a space behind the first has no genomes for given masks, as its `encode` is None; "
            "put it first, or give it one"
        )
    if budget.generations is not None and 0 < budget.generations < num:
        yield f"{budget.generations} generations are too few for {num} stages, each needs one"


def _genome_fault(space: str, evolver: object) -> str | None:
    if not isinstance(evolver, str) or not evolver.startswith("evosax:") or space not in _NOT_REAL:
        return None
    return (
        f"{evolver} searches real-valued genomes, those of the space {space} are "
        f"{_NOT_REAL[space]}; use the space offsets or scores with it, or the evolver genetic "
        "with this space"
    )
