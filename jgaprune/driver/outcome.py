"""What comes out of a run: the best masks, measured beside the baselines."""

import math
from collections.abc import Callable
from dataclasses import replace

from jgaprune.driver.finish import Result
from jgaprune.driver.measure import Judge, decoded
from jgaprune.driver.progression import Progression
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.report import Baseline, Report, Trust
from jgaprune.types import Genome, MaskSpace


def make_report(
    judge: Judge,
    sparsity: float,
    result: Result,
    done: Progression,
    baselines: dict[str, Baseline],
    settings: dict[str, object],
    warnings: tuple[str, ...],
    watch: Stopwatch,
    trust: Callable[[Genome, float], Trust] = lambda genome, fitness: Trust(),
) -> Report:
    """The report of a run that is over; `trust` says how far the fitness of its best is."""
    dense = judge.measure_weights(judge.model.params, judge.model.buffers)
    pruned = result.measures[result.winner]
    if done.failures:
        warnings += (f"{done.failures} evaluations gave NaN and counted as the worst.",)
    warnings += _disappointments(done.history.best[-1], baselines)
    try:
        found = trust(done.genome, done.history.best[-1])
    except KeyboardInterrupt:
        found, done.interrupted = Trust(), True
    evolved = result.winner.startswith("evolved")  # else nobody follows the search
    return Report(
        model=judge.model,
        params=result.params,
        buffers=result.buffers,
        masks=result.masks,
        target_sparsity=sparsity,
        objective=str(settings["objective"]),
        fitness={"start": done.start, "best": done.history.best[-1]},
        baselines=baselines,
        accuracy=_beside(dense.accuracy, pruned.accuracy),
        perplexity=_beside(dense.perplexity, pruned.perplexity),
        history=done.history,
        evaluations=done.evaluations,
        generations=done.generation,
        seconds={**watch.seconds, "total": watch.total()},
        winner=result.winner,
        candidates=result.measures,
        settings=settings,
        interrupted=done.interrupted,
        warnings=warnings + (found if evolved else replace(found, held_out=None)).warnings(),
        trust=found,
    )


def _beside(dense: float | None, pruned: float | None) -> dict[str, float] | None:
    return None if dense is None or pruned is None else {"dense": dense, "pruned": pruned}


def accuracy_of(judge: Judge) -> Callable[[MaskSpace, Genome], float | None]:
    """What a search asks for the accuracy of a genome."""
    return lambda space, genome: judge.accuracy(decoded(space, genome))


def _disappointments(best: float, baselines: dict[str, Baseline]) -> tuple[str, ...]:
    """Warnings where the search was of no use."""
    if not math.isfinite(best):
        return ("No candidate had a finite fitness: the masks are arbitrary.",)
    rounding = 1e-4 * abs(best)
    unbeaten = [
        name
        for name, one in baselines.items()
        if one.repaired.fitness is not None and one.repaired.fitness <= best + rounding
    ]
    if not unbeaten:
        return ()
    return (
        "The search found nothing better, with the same repair, than masks known before it: "
        f"{', '.join(unbeaten)}. Give it a larger budget.",
    )
