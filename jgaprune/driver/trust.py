"""How far the result of a search can be trusted: inputs and masks that it has not seen.

A search on few or odd inputs can get better at them and at nothing else. What it found must also
be better than the one-shot masks on inputs that nobody has fitted anything to; and where there
are labels, masks with a lower fitness should have a lower error.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.driver.choices import REFITTING, choose_objective
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.kept_inputs import synthesized
from jgaprune.driver.measure import Judge, decoded, fitness_of
from jgaprune.driver.wiring import make_repair
from jgaprune.inputs import gaussian_noise, variation_of
from jgaprune.model import Model
from jgaprune.report import LABELLED_OBJECTIVES, Baseline, Fitness, HeldOut, RankCorrelation, Trust
from jgaprune.types import Array, Genome, Key, Masks, MaskSpace, Objective, Repair

_NUM_SYNTHESISED = 128
_NUM_AROUND = 24
"""Random masks around the result."""


class Unseen(NamedTuple):
    """The run's objective on inputs that neither search nor repair sees.

    Attributes:
      objective: after the run's own repair.
      origin: of the inputs.
      num_inputs: how many.
    """

    objective: Objective
    origin: str
    num_inputs: int


def unseen_by(
    model: Model,
    objective: str | Objective,
    inputs: Inputs,
    repair: str | Repair,
    used_repair: Repair | None,
    key: Key,
    *,
    fresh: bool,
) -> Unseen | None:
    """What the search shall not see; None where its inputs cannot be replaced.

    That is so for an objective of the caller's own, and for labelled ones.

    Args:
      model: the dense network.
      objective: of the run.
      inputs: of the run.
      repair: of the run, by name or as an object.
      used_repair: what that stands for.
      key: of no other inputs.
      fresh: whether inputs are synthesised anew where the model has batch-norm, which takes
        longest; else noise is drawn anew, and other inputs are varied.
    """
    if not isinstance(objective, str) or objective in LABELLED_OBJECTIVES:
        return None
    shown, origin = _other_inputs(model, inputs, key, fresh)
    if repair in REFITTING:  # shows its objective what it is told to, in the same program
        used_repair = make_repair(model, inputs, repair, shown)
    own = choose_objective(objective, model, shown, None, used_repair)
    return Unseen(own, origin, len(shown))


def examine(
    judge: Judge,
    space: MaskSpace,
    unseen: Unseen | None,
    one_shot: dict[str, Masks],
    baselines: dict[str, Baseline],
    key: Key | None,
) -> Callable[[Genome, float], Trust]:
    """What says, of the best genome and its fitness, how far that can be trusted.

    Args:
      judge: of the run.
      space: that the genome is of.
      unseen: what the search has not seen, if there is any.
      one_shot: masks of the baselines.
      baselines: what they are worth.
      key: for random genomes around the result; None to measure none.
    """

    def trust(genome: Genome, fitness: float) -> Trust:
        held = unseen and _held_out(judge, space, unseen, one_shot, baselines, genome, fitness)
        ranks = None
        if key is not None and judge.data is not None:
            ranks = _rank_correlation(judge, space, baselines, genome, key)
        return Trust(held, ranks)

    return trust


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Rank correlation, equal values sharing their mean rank; None where all are equal.

    >>> spearman(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.3, 0.9]))
    1.0
    """
    one, other = _mean_ranks(first), _mean_ranks(second)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return round(float(np.corrcoef(one, other)[0, 1]), 4)


def _other_inputs(model: Model, inputs: Inputs, key: Key, fresh: bool) -> tuple[Array, str]:
    if inputs.origin == "noise":
        return gaussian_noise(model.spec, key, len(inputs.all)), "noise"
    if fresh and model.shows_norms:
        return synthesized(model, key, _NUM_SYNTHESISED), "synthesised"
    return variation_of(model.spec)(key, inputs.all), "varied"


def _held_out(
    judge: Judge,
    space: MaskSpace,
    unseen: Unseen,
    one_shot: dict[str, Masks],
    baselines: dict[str, Baseline],
    genome: Genome,
    fitness: float,
) -> HeldOut | None:
    known = {
        name: one.repaired.fitness
        for name, one in baselines.items()
        if one.repaired.fitness is not None and math.isfinite(one.repaired.fitness)
    }
    if not known or not math.isfinite(fitness):
        return None
    best = min(known, key=lambda name: known[name])
    evolved = fitness_of(unseen.objective, judge.key, decoded(space, genome))
    baseline = fitness_of(unseen.objective, judge.key, one_shot[best])
    return HeldOut(
        unseen.origin,
        unseen.num_inputs,
        best,
        Fitness(fitness, known[best]),
        Fitness(evolved, baseline),
    )


def _rank_correlation(
    judge: Judge, space: MaskSpace, baselines: dict[str, Baseline], genome: Genome, key: Key
) -> RankCorrelation:
    """Over the one-shot masks, the result, and genomes at growing distances from it."""
    weakest, strongest = space.strength
    strengths = jnp.linspace(weakest, strongest, _NUM_AROUND)
    keys = jax.random.split(key, _NUM_AROUND)
    around = [_mutated(space, k, genome, s) for k, s in zip(keys, strengths, strict=True)]
    measures = [judge.measure(decoded(space, one)) for one in (genome, *around)]
    measures += [baseline.repaired for baseline in baselines.values()]
    pairs = [
        (one.fitness, 1.0 - one.accuracy)
        for one in measures
        if one.fitness is not None and one.accuracy is not None and not math.isnan(one.fitness)
    ]
    return RankCorrelation(spearman(*np.array(pairs).T), len(pairs))


@jax.jit
def _mutated(space: MaskSpace, key: Key, genome: Genome, strength: Array) -> Genome:
    return space.mutate(key, genome, strength)


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
