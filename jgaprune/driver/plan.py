"""What evolves: the spaces and the evolver, by name or as the caller built them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from jgaprune.driver.budget import Budget
from jgaprune.driver.choices import choose_evolver, choose_space, initial_population, protected
from jgaprune.engine import as_pytree
from jgaprune.masks import count_kept, kept_for
from jgaprune.model import Model
from jgaprune.types import Evolver, Masks, MaskSpace, Objective, Scores

Spaces = str | MaskSpace | Sequence[str | MaskSpace]
"""One space, or those of several stages: names separated by commas, or a sequence."""


Swaps = Callable[[MaskSpace, Scores, Masks | None], MaskSpace]
"""`space, its saliency, best masks so far -> space` whose mutations ask a gradient."""


def listed(space: Spaces) -> tuple[str | MaskSpace, ...]:
    """The spaces of the stages, coarse first.

    >>> listed("levels, weights")
    ('levels', 'weights')
    """
    if isinstance(space, str):
        return tuple(name.strip() for name in space.split(","))
    if isinstance(space, MaskSpace):  # a tuple, too
        return (space,)
    return tuple(space) if isinstance(space, Sequence) else (space,)  # type: ignore[arg-type]


class Choices(NamedTuple):
    """What the caller chose, by name or as an object."""

    space: Spaces
    objective: str | Objective
    evolver: str | Evolver

    @property
    def spaces(self) -> tuple[str | MaskSpace, ...]:
        """Of the stages."""
        return listed(self.space)

    def as_pytrees(self) -> "Choices":
        """The same, where plain functions may enter compiled programs."""
        return Choices(*(one if isinstance(one, str) else as_pytree(one) for one in self))

    def names(self) -> tuple[str, str, str]:
        """Names for the settings; "custom" for objects."""
        return ",".join(map(name_of, self.spaces)), name_of(self.objective), name_of(self.evolver)


class Plan(NamedTuple):
    """What evolves, and how many candidates generation 0 has.

    Attributes:
      space: of the genomes.
      evolver: of every island.
      initial: size of generation 0 on every island.
      islands: populations that evolve apart.
    """

    space: MaskSpace
    evolver: Evolver
    initial: int
    islands: int = 1

    @property
    def places(self) -> int:
        """Candidates of generation 0 on all islands."""
        return self.initial * self.islands


def name_of(choice: object) -> str:
    """Name of a choice for the settings; "custom" for an object."""
    return choice if isinstance(choice, str) else "custom"


def plan_search(
    model: Model,
    choices: Choices,
    *,
    sparsity: float,
    population: int | None,
    initial: int,
    stage: int = 0,
    scores: dict[str, Scores] | None = None,
    order: Scores | None = None,
    masks: Masks | None = None,
    swaps: Swaps | None = None,
    islands: int = 1,
) -> Plan:
    """Builds what evolves.

    Args:
      model: the dense network.
      choices: of the caller.
      sparsity: fraction to remove.
      population: that the caller asked for.
      initial: size of generation 0, on every island.
      stage: whose space evolves.
      scores: saliencies by name, for spaces that are built on several.
      order: what the stage before says, for spaces that are built on one.
      masks: the best of the stages before.
      swaps: what lets mutations of "weights" ask for a gradient; None to let them not.
      islands: populations that evolve apart.

    Raises:
      ValueError: the space is for another model or sparsity, or the evolver refuses the space
        or the population.
    """
    chosen = choices.spaces[stage]
    space = choose_space(chosen, model, sparsity, scores, order)
    if swaps is not None and chosen == "weights":
        saliency = protected(None, model, sparsity)[0] if order is None else order
        space = swaps(space, saliency, masks)
    if not isinstance(chosen, str):
        _check_space(space, model, sparsity)
    _, objective_name, evolver_name = choices.names()
    size = population if evolver_name.startswith("paper") else initial
    evolver = choose_evolver(choices.evolver, space, objective_name, size, model)
    return Plan(space, evolver, initial, islands)


def initial_of_stages(
    model: Model, choices: Choices, population: int | None, budget: Budget, islands: int = 1
) -> int:
    """The size of generation 0 on every island of a stage, by the budget of one stage."""
    share = budget.until(0, len(choices.spaces)).evaluations
    of_island = share and share // islands
    return initial_population(choices.evolver, population, of_island, model)


def _check_space(space: MaskSpace, model: Model, sparsity: float) -> None:
    """A space that the caller built must be one of this model and sparsity."""
    layout, masks = model.layout, space.decode(space.sample(jax.random.key(0)))
    found = {name: tuple(mask.shape) for name, mask in masks.items()}
    if found != dict(zip(layout.names, layout.shapes, strict=True)):
        raise ValueError(
            f"the space has masks for {found}, the prunable weights of {model.spec.name} are "
            f"{dict(zip(layout.names, layout.shapes, strict=True))}. Build it from model.layout."
        )
    kept, wanted = int(count_kept(masks)), kept_for(sparsity, layout.num_weights)
    if abs(kept - wanted) > len(layout.names):  # `scores` rounds in every tensor
        raise ValueError(
            f"the space keeps {kept} of {layout.num_weights} weights; a sparsity of {sparsity:g} "
            f"keeps {wanted}. Build the space and call prune with the same sparsity."
        )
