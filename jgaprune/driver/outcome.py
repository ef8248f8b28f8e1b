"""What comes out of a run: the best masks, measured beside the baselines."""

import math
from collections.abc import Callable

import jax

from jgaprune.driver.loop import Progression
from jgaprune.driver.measure import Judge, repaired
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.report import Baseline, Report
from jgaprune.types import Genome, Masks, MaskSpace


def make_report(
    judge: Judge,
    sparsity: float,
    space: MaskSpace,
    done: Progression,
    baselines: dict[str, Baseline],
    settings: dict[str, object],
    warnings: tuple[str, ...],
    watch: Stopwatch,
) -> Report:
    """The report of a run that is over."""
    masks = _decode(space, done.genome)
    params, buffers = repaired(judge.model, judge.repair, masks)
    dense = judge.measure_weights(judge.model.params, judge.model.buffers)
    pruned = judge.measure_weights(params, buffers)
    if done.failures:
        warnings += (f"{done.failures} evaluations gave NaN and counted as the worst.",)
    warnings += _disappointments(done.history.best[-1], baselines)
    return Report(
        model=judge.model,
        params=params,
        buffers=buffers,
        masks=masks,
        target_sparsity=sparsity,
        objective=str(settings["objective"]),
        fitness={"start": done.start, "best": done.history.best[-1]},
        baselines=baselines,
        accuracy=_beside(dense.accuracy, pruned.accuracy),
        perplexity=_beside(dense.perplexity, pruned.perplexity),
        history=done.history,
        evaluations=done.evaluations,
        generations=done.generation,
        seconds={**watch.seconds, "search": done.seconds, "total": watch.total()},
        settings=settings,
        interrupted=done.interrupted,
        warnings=warnings,
    )


def _beside(dense: float | None, pruned: float | None) -> dict[str, float] | None:
    return None if dense is None or pruned is None else {"dense": dense, "pruned": pruned}


def accuracy_of(judge: Judge, space: MaskSpace) -> Callable[[Genome], float | None]:
    """What a search asks for the accuracy of a genome."""
    return lambda genome: judge.accuracy(_decode(space, genome))


@jax.jit
def _decode(space: MaskSpace, genome: Genome) -> Masks:
    return space.decode(genome)


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
        f"The search found nothing better than the one-shot masks of {' and '.join(unbeaten)} "
        "with the same repair. Give it a larger budget.",
    )
