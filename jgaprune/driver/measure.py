"""What masks are worth: fitness by the run's objective, accuracy where there are labels."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.report import Baseline, Measure, accuracy, perplexity
from jgaprune.types import (
    Array,
    Buffers,
    Genome,
    Key,
    Masks,
    MaskSpace,
    Objective,
    Params,
    Repair,
)

EvaluationData = tuple[np.ndarray, np.ndarray]


class Judge(NamedTuple):
    """All that is needed to measure masks, with the run's repair and without any.

    Attributes:
      model: the dense model.
      repair: the run's repair, or None.
      repaired: the run's objective.
      raw: the same objective without repair; None for a custom one.
      key: for objectives that draw.
      data: inputs and labels that only the report sees, or None.
    """

    model: Model
    repair: Repair | None
    repaired: Objective
    raw: Objective | None
    key: Key
    data: EvaluationData | None

    def measure(self, masks: Masks) -> Measure:
        """All that there is to know with the run's repair."""
        fitness = fitness_of(self.repaired, self.key, masks)
        params, buffers = repaired(self.model, self.repair, masks)
        return self.measure_weights(params, buffers, fitness)

    def measure_raw(self, masks: Masks) -> Measure:
        """The same of the masked weights as they are."""
        fitness = None if self.raw is None else fitness_of(self.raw, self.key, masks)
        params, buffers = repaired(self.model, None, masks)
        return self.measure_weights(params, buffers, fitness)

    def seconds_per_evaluation(self, masks: Masks) -> float:
        """How long one evaluation takes; only once such masks have been measured before."""
        started = time.perf_counter()
        fitness_of(self.repaired, self.key, masks)
        return time.perf_counter() - started

    def accuracy(self, masks: Masks) -> float | None:
        """Accuracy with the run's repair."""
        if self.data is None:
            return None
        params, buffers = repaired(self.model, self.repair, masks)
        return accuracy(self.model, params, buffers, *self.data)

    def measure_weights(
        self, params: Params, buffers: Buffers, fitness: float | None = None
    ) -> Measure:
        """Accuracy, and perplexity of a language model, beside a fitness known already."""
        if self.data is None:
            return Measure(fitness, None)
        reached = accuracy(self.model, params, buffers, *self.data)
        if not self.model.spec.label_shape:
            return Measure(fitness, reached)
        return Measure(fitness, reached, perplexity(self.model, params, buffers, *self.data))


def measure_baselines(
    judge: Judge, masks: dict[str, Masks], tell: Callable[[str], None]
) -> dict[str, Baseline]:
    """Every baseline, raw and with the run's own repair; tells of each before it is measured."""
    measured = {}
    for name, one in masks.items():
        tell(name)
        measured[name] = Baseline(judge.measure_raw(one), judge.measure(one))
    return measured


@jax.jit
def repaired(model: Model, repair: Repair | None, masks: Masks) -> tuple[Params, Buffers]:
    """Masked parameters and the buffers that go with them, repaired if asked."""
    params = apply_masks(model.params, masks)
    if repair is None:
        return params, model.buffers
    _, params, buffers = repair.fit(params, model.buffers)
    return params, buffers


@jax.jit
def decoded(space: MaskSpace, genome: Genome) -> Masks:
    """The masks of a genome."""
    return space.decode(genome)


@jax.jit
def encoded(space: MaskSpace, masks: Masks) -> Genome:
    """The genome of masks, in a space that can express them."""
    assert space.encode is not None
    return space.encode(masks)


def fitness_of(objective: Objective, key: Key, masks: Masks) -> float:
    """What an objective says of masks."""
    return float(_score(objective, key, masks))


@jax.jit
def _score(objective: Objective, key: Key, masks: Masks) -> Array:
    return objective(key, masks).fitness
