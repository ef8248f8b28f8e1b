"""Runs a search block by block on the host: budget, progress, interruption.

The device runs several generations per block; a block lasts about a second, so that progress is
seen and Ctrl-C is honoured between blocks. What a caller gets back is always a whole number of
generations.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jax

from jgaprune.distributed import agreed
from jgaprune.driver.budget import Budget
from jgaprune.driver.progress import OnRecord, Progress
from jgaprune.engine import Record, Search, SearchState, on_host_device
from jgaprune.report import History
from jgaprune.types import Genome, Key, MaskSpace

_BLOCK_SECONDS = 1.0
_ACCURACY_POINTS = 20
"""About so many points of the accuracy curve, so that measuring it stays cheap."""


AccuracyOf = Callable[[MaskSpace, Genome], float | None]


@dataclass
class Progression:
    """How far a run has come, over all its searches.

    Attributes:
      space: that the best is of.
      genome: the best so far.
      start: best fitness of generation 0.
      history: one entry per generation.
      generation: generations done; the first one of a further search counts, too.
      failures: evaluations whose fitness was NaN.
      seconds: wall time of the searches.
      interrupted: whether it was stopped from outside.
      state: of the last search; of no use once it was interrupted.
    """

    space: MaskSpace
    genome: Genome
    start: float
    history: History = field(default_factory=History)
    generation: int = 0
    failures: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    state: SearchState | None = None

    @property
    def evaluations(self) -> int:
        """Candidates evaluated so far."""
        return self.history.evaluations[-1] if self.history.evaluations else 0

    @property
    def best(self) -> float:
        """Best fitness so far."""
        return self.history.best[-1] if self.history.best else math.inf


def run_search(
    search: Search,
    space: MaskSpace,
    key: Key,
    budget: Budget,
    accuracy_of: AccuracyOf,
    on_record: OnRecord,
    done: Progression | None = None,
) -> Progression:
    """Runs until a budget is used up or the user interrupts.

    Args:
      search: to run.
      space: of its genomes.
      key: to start it with.
      budget: for this search and those before it.
      accuracy_of: of a genome.
      on_record: told after every block.
      done: by the searches before it, which is gone on with.

    Raises:
      KeyboardInterrupt: before generation 0 is evaluated; nothing has changed then.
    """
    started = time.perf_counter() - (done.seconds if done else 0.0)
    state, record = search.init(key)
    record = jax.tree.map(lambda leaf: leaf[None], record)
    if done is None:
        done = Progression(space, on_host_device(state.best.genome), float(record.best[0]))
    else:
        done.generation += 1
    add = _Adding(space, done.evaluations, done.failures)
    add.block(done, state, record)
    curve = _AccuracyCurve(accuracy_of, budget)
    try:
        curve.add(done)
        _go_on(search, done, budget, add, curve, on_record, started)
    except KeyboardInterrupt:
        done.interrupted = True
    done.seconds = time.perf_counter() - started
    return done


def _go_on(
    search: Search,
    done: Progression,
    budget: Budget,
    add: "_Adding",
    curve: "_AccuracyCurve",
    on_record: OnRecord,
    started: float,
) -> None:
    block, state = 1, done.state
    assert state is not None  # generation 0 is done
    while not budget.out_of_time(agreed(time.perf_counter() - started)):
        children = search.children(state)
        left = budget.generations_left(done.generation, done.evaluations, children)
        if left == 0:
            return
        block_started = time.perf_counter()
        evaluated = done.evaluations
        block = 1 if search.staged else min(block, left)
        state, records = search.run(state, block)
        jax.block_until_ready(records)
        add.block(done, state, records)
        seconds = time.perf_counter() - block_started
        done.generation += block
        on_record(_progress(done, left, block, (done.evaluations - evaluated) / seconds))
        curve.add(done)
        block = int(agreed(max(1, min(2 * block, int(_BLOCK_SECONDS * block / seconds)))))


@dataclass(frozen=True)
class _Adding:
    """Adds what a search brings to what those before it spent."""

    space: MaskSpace
    evaluations: int
    failures: int

    def block(self, done: Progression, state: SearchState, records: Record) -> None:
        """Generations, and the best genome if it is better than all before."""
        host = jax.device_get(records)
        if float(host.best[-1]) < done.best:
            done.space, done.genome = self.space, on_host_device(state.best.genome)
        before, history = done.best, done.history
        history.best.extend(min(before, float(value)) for value in host.best)
        history.evaluations.extend(self.evaluations + int(value) for value in host.evaluations)
        history.mean_fitness.extend(float(value) for value in host.mean_fitness)
        history.diversity.extend(float(value) for value in host.diversity)
        done.failures = self.failures + int(state.failures)
        done.state = state


class _AccuracyCurve:
    """Accuracy of the best so far, measured now and then."""

    def __init__(self, accuracy_of: AccuracyOf, budget: Budget):
        self.accuracy_of = accuracy_of
        self.spacing = (budget.evaluations or 0) // _ACCURACY_POINTS
        self.last_best: float | None = None

    def add(self, done: Progression) -> None:
        """Measures, unless the last point is near; an unchanged best is not measured again."""
        best, evaluations = done.best, done.evaluations
        points = done.history.accuracy
        if points and evaluations - points[-1][0] < max(self.spacing, 1):
            return
        value = (
            points[-1][1]
            if points and self.last_best == best
            else self.accuracy_of(done.space, done.genome)
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
        best=done.best,
        mean_fitness=done.history.mean_fitness[-1],
        evaluations_per_second=rate,
    )
