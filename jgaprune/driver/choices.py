"""The names that `prune` and the command line understand, and what each stands for."""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from jgaprune import evolvers, objectives, saliency, spaces
from jgaprune.driver.weighted import weighted_names
from jgaprune.masks import Layout, kept_for
from jgaprune.model import Model
from jgaprune.types import Array, Evolver, MaskSpace, Objective, Repair, Scores

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "output_distance": objectives.output_distance,
    "total_variation": objectives.total_variation,
    "logit_cosine": objectives.logit_cosine,
    "logit_mse": objectives.logit_mse,
    "kl": objectives.kl,
    "reverse_kl": objectives.reverse_kl,
    "agreement": objectives.agreement,
    "feature_distance": objectives.feature_distance,
    "accuracy": objectives.accuracy,
    "cross_entropy": objectives.cross_entropy,
}
_BY_SPACE_ALONE = {
    "genetic": evolvers.genetic,
    "level_switch": evolvers.level_switch,
    "random_search": evolvers.random_search,
}
EVOLVERS = (
    *_BY_SPACE_ALONE,
    "paper1",
    "paper2",
    "paper3",
    "paper4",
    "paper5",
    "evosax:NAME",
)
_IN_UNIT = ("accuracy", "agreement", "total_variation")
REFITTING = ("reconstruct", "distil")
"""Repairs that change weights, not only statistics."""
REPAIRS = ("auto", *REFITTING, "batch_norm_delta", "none")

_DEFAULT_POPULATION = 16
_FEWEST_BY_DEFAULT = 8
_GENERATIONS_BY_DEFAULT = 30


_Build = Callable[[Scores, Layout, float], MaskSpace]


def _on_magnitude(build: _Build, model: Model, sparsity: float) -> MaskSpace:
    return build(protected(None, model, sparsity)[0], model.layout, sparsity)


def _one_base(model: Model, sparsity: float) -> MaskSpace:
    return spaces.bases(protected(None, model, sparsity), model.layout, sparsity)


def protected(scores: dict[str, Scores] | None, model: Model, sparsity: float) -> list[Scores]:
    """The bases among the scores, or magnitude alone; every layer's minimum always stays."""
    layout = model.layout
    num_kept = kept_for(sparsity, layout.num_weights)
    chosen = [scores[name] for name in _BASES if name in scores] if scores else []
    chosen = chosen or [saliency.magnitude(model.params, layout, sparsity)]
    return [saliency.protect(one, layout, num_kept) for one in chosen]


_BASES = (
    "straight_through",
    "gradual",
    "exact_obs",
    "magnitude",
    "lookahead",
    "synflow",
    "wanda",
    "obs",
)
"""Saliencies that order the weights of a layer in another way than the others."""
_ON_ONE: dict[str, _Build] = {
    "levels": spaces.levels,
    "offsets": spaces.offsets,
    "blocks": partial(spaces.offsets, detail="block"),
    "channels": partial(spaces.offsets, detail="output_channel"),
    "input_channels": partial(spaces.offsets, detail="input_channel"),
    "weights": spaces.weights,
}
"""Spaces that are built on one saliency."""
SPACES: dict[str, Callable[[Model, float], MaskSpace]] = {
    "bases": _one_base,
    **{name: partial(_on_magnitude, build) for name, build in _ON_ONE.items()},
    "scores": spaces.scores,
}
_NEAR = 0.05
"""Share of the weights, around the threshold of what came before, that half of the swaps touch."""


def choose_space(
    space: str | MaskSpace,
    model: Model,
    sparsity: float,
    scores: dict[str, Scores] | None = None,
    order: Scores | None = None,
) -> MaskSpace:
    """A space by name.

    Args:
      space: its name, or the space.
      model: the dense network; a space is built on the magnitude of its weights unless `scores` or
        `order` say more.
      sparsity: fraction to remove.
      scores: all that there are, for "bases".
      order: what the stage before says, for spaces that are built on one saliency.
    """
    if not isinstance(space, str):
        return space
    if space == "bases":
        return spaces.bases(protected(scores, model, sparsity), model.layout, sparsity)
    if order is None or space not in _ON_ONE:
        return SPACES[space](model, sparsity)
    build = partial(spaces.weights, near=_NEAR) if space == "weights" else _ON_ONE[space]
    return build(order, model.layout, sparsity)


def choose_objective(
    objective: str | Objective,
    model: Model,
    inputs: Array,
    labels: Array | None,
    repair: Repair | None,
) -> Objective:
    """An objective by name, or a weighted sum by names; it looks at what the repair shows."""
    if not isinstance(objective, str):
        return objective
    own_inputs = None if repair is not None and repair.inputs is inputs else inputs
    given = (model,) if labels is None else (model, labels)
    if objective in OBJECTIVES:
        return OBJECTIVES[objective](*given, inputs=own_inputs, repair=repair)
    return objectives.weighted_sum(
        [
            (OBJECTIVES[name](*given, inputs=own_inputs, repair=repair), weight)
            for name, weight in weighted_names(objective)
        ]
    )


def choose_evolver(
    evolver: str | Evolver,
    space: MaskSpace,
    objective_name: str,
    population: int | None,
    model: Model,
) -> Evolver:
    """An evolver by name.

    Args:
      evolver: its name, or an evolver.
      space: the space it searches.
      objective_name: "custom" for one without a name.
      population: candidates per generation; None for the paper's schedule.
      model: decides which schedule.
    """
    if not isinstance(evolver, str):
        return evolver
    if evolver.startswith("paper"):
        schedule = _schedule(model)
        if population is not None:
            stages = tuple((mean, population, rate) for mean, _, rate in schedule.stages)
            schedule = replace(schedule, stages=stages)
        quality = evolvers.complement if objective_name in _IN_UNIT else evolvers.reciprocal
        return evolvers.paper(space, strategy=int(evolver[-1]), schedule=schedule, quality=quality)
    population = population or _DEFAULT_POPULATION
    if evolver.startswith("evosax:"):
        algorithm = evolvers.evosax_algorithm(evolver.partition(":")[2])
        return evolvers.from_evosax(algorithm, space, population=population)
    build = _BY_SPACE_ALONE[evolver]
    return build(space, population=population)


def initial_population(
    evolver: str | Evolver, population: int | None, evaluations: int | None, model: Model
) -> int:
    """The size of generation 0: as asked for, or the evolver's default.

    A small budget makes the default smaller, but not the paper's.
    """
    if population is not None:
        return population
    if isinstance(evolver, str) and evolver.startswith("paper"):
        return evolvers.initial_population(_schedule(model))
    if evaluations is None:
        return _DEFAULT_POPULATION
    wanted = max(_FEWEST_BY_DEFAULT, evaluations // _GENERATIONS_BY_DEFAULT)
    return max(2, min(_DEFAULT_POPULATION, wanted, evaluations))


def _schedule(model: Model) -> evolvers.Schedule:
    """The paper's schedule: CIFAR-10's for colour images, MNIST's for everything else."""
    channels = model.spec.input_shape[model.spec.channel_axis]
    return evolvers.schedule_named("cifar10" if channels == 3 else "mnist")


def unknown_name(what: str, name: object, known: Collection[str]) -> str | None:
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
