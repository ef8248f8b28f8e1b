"""The names that the driver and the command line understand, and what each stands for.

The core has no registries: names exist here only, at the edge.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from jgaprune import evolvers, objectives, saliency, spaces
from jgaprune.masks import kept_for
from jgaprune.model import Model
from jgaprune.types import Array, Evolver, MaskSpace, Objective, Repair

SPACES = ("offsets", "weights", "scores")
OBJECTIVES = ("logit_cosine", "logit_mse", "kl", "agreement", "accuracy", "cross_entropy")
EVOLVERS = ("genetic", "paper1", "paper2", "paper3", "paper4", "paper5", "evosax:NAME")
LABELLED = ("accuracy", "cross_entropy")
_IN_UNIT = ("accuracy", "agreement")
SALIENCIES = {
    "magnitude": saliency.magnitude,
    "uniform_magnitude": saliency.uniform_magnitude,
    "lamp": saliency.lamp,
    "erk": saliency.erk,
}
"""The one-shot baselines, which are also the seeds of generation 0."""

DEFAULT_POPULATION = 16
_STRENGTH = {"offsets": (0.1, 1.0), "weights": (0.005, 0.5), "scores": (1e-4, 0.02)}
"""Mutation strength of the genetic evolver: the spaces' units differ."""


class EvolverChoice(NamedTuple):
    """An evolver and the size of its generation 0."""

    evolver: Evolver
    population: int


def choose_space(space: str | MaskSpace, model: Model, sparsity: float) -> MaskSpace:
    """A space by name, on the magnitude of the model's weights."""
    if not isinstance(space, str):
        return space
    if space == "scores":
        return spaces.scores(model, sparsity)
    layout = model.layout
    basis = saliency.magnitude(model.params, layout, sparsity)
    basis = saliency.protect(basis, layout, kept_for(sparsity, layout.num_weights))
    build = spaces.offsets if space == "offsets" else spaces.weights
    return build(basis, layout, sparsity)


def choose_objective(
    objective: str | Objective,
    model: Model,
    inputs: Array,
    labels: Array | None,
    repair: Repair | None,
) -> Objective:
    """An objective by name, on the repair's inputs where there is one."""
    if not isinstance(objective, str):
        return objective
    own_inputs = inputs if repair is None else None
    if labels is not None:
        build = objectives.accuracy if objective == "accuracy" else objectives.cross_entropy
        return build(model, labels, inputs=own_inputs, repair=repair)
    label_free: dict[str, Callable[..., Objective]] = {
        "logit_cosine": objectives.logit_cosine,
        "logit_mse": objectives.logit_mse,
        "kl": objectives.kl,
        "agreement": objectives.agreement,
    }
    return label_free[objective](model, inputs=own_inputs, repair=repair)


def choose_evolver(
    evolver: str | Evolver, space: MaskSpace, names: tuple[str, str], population: int, model: Model
) -> EvolverChoice:
    """An evolver by name.

    Args:
      evolver: its name, or an evolver.
      space: the space it searches.
      names: of the space and of the objective, "custom" where they are not named.
      population: candidates per generation; 0 for the default.
      model: decides the paper's schedule: "cifar10" for colour images, "mnist" otherwise.
    """
    space_name, objective_name = names
    if not isinstance(evolver, str):
        return EvolverChoice(evolver, population or DEFAULT_POPULATION)
    if evolver.startswith("paper"):
        quality = evolvers.complement if objective_name in _IN_UNIT else evolvers.reciprocal
        schedule = evolvers.schedule_named(
            "cifar10" if model.spec.input_shape[-1] == 3 else "mnist"
        )
        if population:
            stages = tuple((mean, population, rate) for mean, _, rate in schedule.stages)
            schedule = replace(schedule, stages=stages)
        built = evolvers.paper(space, strategy=int(evolver[-1]), schedule=schedule, quality=quality)
        return EvolverChoice(built, evolvers.initial_population(schedule))
    population = population or DEFAULT_POPULATION
    if evolver.startswith("evosax:"):
        algorithm = evolvers.evosax_algorithm(evolver.partition(":")[2])
        built = evolvers.from_evosax(algorithm, space, population=population)
        return EvolverChoice(built, population)
    strength = _STRENGTH.get(space_name, (0.02, 0.5))
    return EvolverChoice(
        evolvers.genetic(space, population=population, strength=strength), population
    )


def unknown_name(what: str, name: object, known: tuple[str, ...]) -> str | None:
    """The fault in a name, or None."""
    if not isinstance(name, str) or name in known:
        return None
    if what == "evolver" and name.startswith("evosax:"):
        try:
            evolvers.evosax_algorithm(name.partition(":")[2])
        except ValueError as error:
            return str(error).rstrip(".")
        return None
    return f"{what} must be one of {', '.join(known)}, got {name!r}"
