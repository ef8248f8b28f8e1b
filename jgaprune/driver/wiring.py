"""What `prune` does by default with what it is not told: inputs, repair, judge, search."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.driver.budget import Budget
from jgaprune.driver.choices import (
    DEFAULT_POPULATION,
    choose_evolver,
    choose_objective,
    choose_space,
)
from jgaprune.driver.measure import EvaluationData, Judge
from jgaprune.engine import Search, auto_chunk, build_search
from jgaprune.inputs import gaussian_noise, synthesize
from jgaprune.model import Model
from jgaprune.repair import batch_norm_delta
from jgaprune.types import Array, Evolver, Genomes, Key, Masks, MaskSpace, Objective, Repair

_NUM_INPUTS = 256
"""Inputs made for a model without data."""


class Choices(NamedTuple):
    """What the caller chose, by name or as an object."""

    space: str | MaskSpace
    objective: str | Objective
    evolver: str | Evolver

    def names(self) -> tuple[str, str, str]:
        """Names for the settings; "custom" for objects."""
        return tuple(choice if isinstance(choice, str) else "custom" for choice in self)  # type: ignore[return-value]


class Ready(NamedTuple):
    """A search ready to run, with what was chosen for it."""

    space: MaskSpace
    search: Search
    population: int
    chunk: int
    num_seeds: int


def make_inputs(
    model: Model, given: Array | np.ndarray | None, key: Key, *, supplement: bool
) -> tuple[Array, str, tuple[str, ...]]:
    """The inputs of the search, where they come from, and what a reader should know of them."""
    shown = None if given is None else jnp.asarray(given, jnp.float32)
    if model.observe and model.spec.norms and (shown is None or supplement):
        made = synthesize(model, key, _NUM_INPUTS)
        if shown is None:
            return made, "synthesised", ()
        return jnp.concatenate([shown, made]), "given and synthesised", ()
    if shown is not None:
        return shown, "given", ()
    warning = (
        f"{model.spec.name} has no batch-norm layers to synthesise inputs from: the search used "
        "Gaussian noise, on which it can fool itself. Pass unlabelled inputs if you have any."
    )
    return gaussian_noise(model.spec, key, _NUM_INPUTS), "noise", (warning,)


def make_repair(model: Model, inputs: Array, repair: bool | Repair) -> Repair | None:
    """The batch-norm delta, none, or the caller's own."""
    if isinstance(repair, bool):
        return batch_norm_delta(model, inputs) if repair else None
    return repair


def repair_name(model: Model, repair: bool | Repair) -> str | None:
    """The repair's name for the settings; None where nothing is repaired."""
    if not isinstance(repair, bool):
        return "custom"
    return "batch_norm_delta" if repair and model.spec.norms else None


def make_judge(
    model: Model,
    objective: str | Objective,
    inputs: Array,
    labels: Array | np.ndarray | None,
    repair: Repair | None,
    key: Key,
    data: EvaluationData | None,
) -> Judge:
    """What measures masks, with and without the repair."""
    targets = None if labels is None else jnp.asarray(labels)
    repaired_objective = choose_objective(objective, model, inputs, targets, repair)
    raw = None
    if isinstance(objective, str):
        raw = choose_objective(objective, model, inputs, targets, None)
    return Judge(model, repair, repaired_objective, raw, key, data)


def build_ready(
    judge: Judge,
    *,
    sparsity: float,
    choices: Choices,
    population: int,
    seeds: dict[str, Masks],
    chunk: int | str,
) -> Ready:
    """Wires space, evolver and seeds into a compiled search."""
    model, objective = judge.model, judge.repaired
    space = choose_space(choices.space, model, sparsity)
    space_name, objective_name, evolver_name = choices.names()
    evolver, population = choose_evolver(
        choices.evolver, space, (space_name, objective_name), population, model
    )
    is_paper = evolver_name.startswith("paper")
    seed_genomes = None if is_paper else _encode(space, seeds, population)
    size = auto_chunk(space, objective, population) if isinstance(chunk, str) else chunk
    search = build_search(
        space, objective, evolver, population=population, seeds=seed_genomes, chunk=size
    ).compile()
    num_seeds = 0 if seed_genomes is None else jax.tree.leaves(seed_genomes)[0].shape[0]
    return Ready(space, search, population, size, num_seeds)


def _encode(space: MaskSpace, seeds: dict[str, Masks], population: int) -> Genomes | None:
    """The seeds as genomes, as many as fit."""
    if space.encode is None or not seeds:
        return None
    genomes = [space.encode(masks) for masks in list(seeds.values())[:population]]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *genomes)


def fitting_population(population: int | None, budget: Budget) -> int:
    """The population asked for, 0 for the default; a small budget makes it smaller."""
    if population is None and budget.evaluations is not None:
        return max(2, min(budget.evaluations, DEFAULT_POPULATION))
    return population or 0
