"""Runs a search block by block on the host: budget, progress, interruption.

The device runs several generations per block; a block lasts about a second, so that progress is
seen and Ctrl-C is honoured between blocks. What a caller gets back is always a whole number of
generations.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from jgaprune.driver.budget import Budget
from jgaprune.driver.progress import OnRecord, Progress
from jgaprune.engine import Record, Search, SearchState
from jgaprune.report import History
from jgaprune.types import Genome, Key

_BLOCK_SECONDS = 1.0
_ACCURACY_POINTS = 20
"""About so many points of the accuracy curve, so that measuring it stays cheap."""


@dataclass
class Progression:
    """How far a run has come.

    Attributes:
      genome: the best so far.
      start: best fitness of generation 0.
      history: one entry per generation.
      generation: generations done.
      failures: evaluations whose fitness was NaN.
      seconds: wall time of the search.
      interrupted: whether it was stopped from outside.
    """

    genome: Genome
    start: float
    history: History = field(default_factory=History)
    generation: int = 0
    failures: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def evaluations(self) -> int:
        """Candidates evaluated so far."""
        return self.history.evaluations[-1]


def run_search(
    search: Search,
    key: Key,
    budget: Budget,
    accuracy_of: Callable[[Genome], float | None],
    on_record: OnRecord,
) -> Progression:
    """Runs until a budget is used up or the user interrupts.

    Raises:
      KeyboardInterrupt: before generation 0 is evaluated, when there is nothing to return.
    """
    started = time.perf_counter()
    state, record = search.init(key)
    done = Progression(_copy(state.best.genome), float(record.best), failures=int(state.failures))
    _extend(done, jax.tree.map(lambda leaf: leaf[None], record))
    curve = _AccuracyCurve(accuracy_of, budget)
    try:
        curve.add(done)
        _go_on(search, state, done, budget, curve, on_record, started)
    except KeyboardInterrupt:
        done.interrupted = True
    done.seconds = time.perf_counter() - started
    return done


def _go_on(
    search: Search,
    state: SearchState,
    done: Progression,
    budget: Budget,
    curve: "_AccuracyCurve",
    on_record: OnRecord,
    started: float,
) -> None:
    block = 1
    while not budget.out_of_time(time.perf_counter() - started):
        children = search.children(state)
        left = budget.generations_left(done.generation, done.evaluations, children)
        if left == 0:
            return
        block_started = time.perf_counter()
        evaluated = done.evaluations
        block = 1 if search.staged else min(block, left)
        state, records = search.run(state, block)
        jax.block_until_ready(records)
        done.genome, done.failures = _copy(state.best.genome), int(state.failures)
        _extend(done, records)
        seconds = time.perf_counter() - block_started
        done.generation += block
        on_record(_progress(done, left, block, (done.evaluations - evaluated) / seconds))
        curve.add(done)
        block = max(1, min(2 * block, int(_BLOCK_SECONDS * block / seconds)))


class _AccuracyCurve:
    """Accuracy of the best so far, measured now and then."""

    def __init__(self, accuracy_of: Callable[[Genome], float | None], budget: Budget):
        self.accuracy_of = accuracy_of
        self.spacing = (budget.evaluations or 0) // _ACCURACY_POINTS
        self.last_best: float | None = None

    def add(self, done: Progression) -> None:
        """Measures, unless the last point is near; an unchanged best is not measured again."""
        best, evaluations = done.history.best[-1], done.evaluations
        points = done.history.accuracy
        if points and evaluations - points[-1][0] < max(self.spacing, 1):
            return
        value = (
            points[-1][1] if points and self.last_best == best else self.accuracy_of(done.genome)
        )
        if value is not None:
            points.append((evaluations, value))
            self.last_best = best


def _progress(done: Progression, left: int, block: int, rate: float) -> Progress:
    unlimited = left > 2**19
    return Progress(
        phase="search",
        generation=done.generation,
        generations=None if unlimited else done.generation - block + left,
        evaluations=done.evaluations,
        best=done.history.best[-1],
        mean_fitness=done.history.mean_fitness[-1],
        evaluations_per_second=rate,
    )


def _extend(done: Progression, records: Record) -> None:
    host = jax.device_get(records)
    done.history.evaluations.extend(int(value) for value in host.evaluations)
    done.history.best.extend(float(value) for value in host.best)
    done.history.mean_fitness.extend(float(value) for value in host.mean_fitness)
    done.history.diversity.extend(float(value) for value in host.diversity)


def _copy(genome: Genome) -> Genome:
    """A copy that outlives the donated state."""
    return jax.tree.map(jnp.copy, genome)
