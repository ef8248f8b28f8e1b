"""Runs a search block by block on the host: budget, progress, interruption.

The device runs several generations per block; a block lasts about a second, so that progress is
seen and Ctrl-C is honoured between blocks. What a caller gets back is always a whole number of
generations.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable

import jax

from jgaprune.agreement import agreed, wait_for_all
from jgaprune.driver.budget import Budget
from jgaprune.driver.keep import NOTHING_KEPT, Keep
from jgaprune.driver.progress import OnRecord, Progress
from jgaprune.driver.progression import Progression
from jgaprune.engine import Record, Search, SearchState, on_host_device
from jgaprune.types import Genome, Key, MaskSpace

_BLOCK_SECONDS = 1.0
_ACCURACY_POINTS = 20
"""About so many points of the accuracy curve, so that measuring it stays cheap."""
_UNLIMITED = 2**20


AccuracyOf = Callable[[MaskSpace, Genome], float | None]


def run_search(
    search: Search,
    space: MaskSpace,
    key: Key,
    budget: Budget,
    accuracy_of: AccuracyOf,
    on_record: OnRecord,
    done: Progression | None = None,
    keep: Keep = NOTHING_KEPT,
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
      keep: what keeps the run on the disk.

    Raises:
      KeyboardInterrupt: before generation 0 is evaluated; nothing has changed then.
    """
    wait_for_all()
    started = time.perf_counter()
    state, record = search.init(key)
    record = jax.tree.map(lambda leaf: leaf[None], record)
    if done is None:
        done = Progression(space, on_host_device(state.best.genome), float(record.best[0]))
    else:
        done.begin_stage()
    _add_block(done, space, state, record)
    done.seconds += time.perf_counter() - started
    return go_on(search, space, budget, accuracy_of, on_record, done, keep)


def go_on(
    search: Search,
    space: MaskSpace,
    budget: Budget,
    accuracy_of: AccuracyOf,
    on_record: OnRecord,
    done: Progression,
    keep: Keep = NOTHING_KEPT,
) -> Progression:
    """The same from where a search stands: after generation 0, or after it was stopped.

    What `on_record` raises ends the run; what there is then is kept before it goes its way.
    """
    clock = _Clock(done)
    curve = _AccuracyCurve(accuracy_of, budget)
    try:
        curve.add(done)
        keep.block(done)
        _run_blocks(search, space, done, budget, curve, on_record, keep, clock)
    except KeyboardInterrupt:
        done.interrupted = True
        keep.ended(done)
    except BaseException:
        keep.stopped(done)
        raise
    clock.stop()
    return done


def _run_blocks(
    search: Search,
    space: MaskSpace,
    done: Progression,
    budget: Budget,
    curve: "_AccuracyCurve",
    on_record: OnRecord,
    keep: Keep,
    clock: "_Clock",
) -> None:
    block, each = 1, 0.0
    first = done.before.generations + (1 if done.stage else 0)
    while not budget.out_of_time(now := agreed(clock.stop())):
        assert done.state is not None  # generation 0 is done
        if budget.is_reached(done.history.best, first):
            return
        children = search.children(done.state)
        left = budget.generations_left(done.generation, done.evaluations, children)
        if left == 0:
            return
        points = keep.generations_left(done), curve.generations_left(done, children)
        most = min(left, budget.fits(now, each), *points)
        block = 1 if search.staged or budget.watches_every_generation else min(block, most)
        evaluated, block_started = done.evaluations, time.perf_counter()
        done.whole = False
        state, records = search.run(done.state, block)
        jax.block_until_ready(records)
        _add_block(done, space, state, records, block)
        each = agreed(max(1e-9, time.perf_counter() - block_started) / block)
        clock.stop()
        curve.add(done)
        keep.block(done)
        rate = (done.evaluations - evaluated) / (each * block)
        on_record(_progress(done, left, block, rate))
        block = max(1, min(2 * block, int(_BLOCK_SECONDS / each)))


class _Clock:
    """Adds wall time to that of the searches before, or before it was stopped."""

    def __init__(self, done: Progression):
        self.done, self.since = done, time.perf_counter() - done.seconds

    def stop(self) -> float:
        """Seconds of all searches so far."""
        self.done.seconds = time.perf_counter() - self.since
        return self.done.seconds


def _add_block(
    done: Progression, space: MaskSpace, state: SearchState, records: Record, generations: int = 0
) -> None:
    """Generations, and the best genome if it is better than all before."""
    host = jax.device_get(records)
    if float(host.best[-1]) < done.best:
        done.space, done.genome = space, on_host_device(state.best.genome)
        done.best_stage = done.stage
    best, history = done.best, done.history
    history.best.extend(min(best, float(value)) for value in host.best)
    history.evaluations.extend(done.before.evaluations + int(one) for one in host.evaluations)
    history.mean_fitness.extend(float(value) for value in host.mean_fitness)
    history.diversity.extend(float(value) for value in host.diversity)
    done.failures = done.before.failures + int(state.failures)
    done.generation += generations
    done.state, done.whole = state, True


class _AccuracyCurve:
    """Accuracy of the best so far, measured now and then.

    Where it is measured depends on the budget alone, and not on how fast the machine is, unless
    only time is limited.
    """

    def __init__(self, accuracy_of: AccuracyOf, budget: Budget):
        self.accuracy_of = accuracy_of
        self.evaluations = (budget.evaluations or 0) // _ACCURACY_POINTS
        self.generations = (budget.generations or 0) // _ACCURACY_POINTS
        self.counts = budget.evaluations is not None or budget.generations is not None
        self.last_best: float | None = None

    def generations_left(self, done: Progression, children: int) -> int:
        """To the next point."""
        if not done.history.accuracy or not self.counts:
            return _UNLIMITED
        evaluations, generations = self._missing(done)
        return max(1, math.ceil(evaluations / children), generations)

    def add(self, done: Progression) -> None:
        """Measures, unless the last point is near; an unchanged best is not measured again."""
        best, points = done.best, done.history.accuracy
        if points and max(self._missing(done)) > 0:
            return
        value = (
            points[-1][1]
            if points and self.last_best == best
            else self.accuracy_of(done.space, done.genome)
        )
        if value is not None:
            points.append((done.evaluations, value))
            self.last_best = best

    def _missing(self, done: Progression) -> tuple[int, int]:
        """Evaluations and generations to the next point, which is not the last one again."""
        last, counts = done.history.accuracy[-1][0], done.history.evaluations
        since = len(counts) - 1 - bisect_left(counts, last)
        return max(self.evaluations, 1) - (counts[-1] - last), max(self.generations, 1) - since


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
        block=block,
        history=done.history,
    )
