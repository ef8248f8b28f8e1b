"""What a caller is told while a run goes on, and who listens."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

from jgaprune.agreement import together
from jgaprune.report import History, Report


@dataclass(frozen=True)
class Progress:
    """One step of a run.

    Attributes:
      phase: "inputs", "baselines", "training", "compile", "search", "finish" or "end".
      detail: what is being done within a phase that takes long, in words; else empty.
      generation: generations done, 0 for the sampled one.
      generations: generations in all, None if another budget ends the run.
      evaluations: candidates evaluated.
      best: best fitness so far.
      mean_fitness: mean fitness of the last generation.
      evaluations_per_second: of the last block of generations.
      block: generations in the last block.
      run: what a run that is kept on the disk is known by, also when it goes on; else None.
      history: of all generations so far, those of earlier processes too; of the search and the
        end only. It grows with the run, and is not to be changed.
      report: at the end, else None.
    """

    phase: str
    detail: str = ""
    generation: int | None = None
    generations: int | None = None
    evaluations: int = 0
    best: float | None = None
    mean_fitness: float | None = None
    evaluations_per_second: float | None = None
    block: int = 0
    run: str | None = None
    history: History | None = field(default=None, repr=False, compare=False)
    report: Report | None = field(default=None, repr=False, compare=False)


OnRecord = Callable[[Progress], None]
"""A listener. One that is a context manager, too, is entered when the run begins and left when it
is over, however it ended; `jgaprune.telemetry` has some."""


def ignore(progress: Progress) -> None:
    """The listener of a run that nobody watches."""


def stepwise(tell: OnRecord, phase: str, steps: int, of: str = "") -> Callable[[], None]:
    """What tells of every step of a training in turn.

    Args:
      tell: who listens.
      phase: in which it trains.
      steps: in all.
      of: what is trained, if the phase does not say so.
    """
    numbers = count(1)

    def step() -> None:
        tell(Progress(phase, f"{of}step {next(numbers)} of {steps}"))

    return step


def ended(report: Report) -> Progress:
    """The last thing to be told."""
    return Progress(
        phase="end",
        generation=report.generations,
        generations=report.generations,
        evaluations=report.evaluations,
        best=report.fitness["best"],
        history=report.history,
        report=report,
    )


@contextmanager
def audience(
    listeners: OnRecord | Sequence[OnRecord] | None, run: str | None = None
) -> Iterator[OnRecord]:
    """Several listeners as one while the block runs, told in their order.

    What one raises is raised on all processes.

    Args:
      listeners: one, several or none.
      run: what the run is known by.
    """
    given = (listeners,) if callable(listeners) else tuple(listeners or ())
    with ExitStack() as entered:
        for one in given:
            if isinstance(one, AbstractContextManager):
                entered.enter_context(one)

        def tell(progress: Progress) -> None:
            told = replace(progress, run=run)
            together(lambda: [one(told) for one in given])

        yield tell
