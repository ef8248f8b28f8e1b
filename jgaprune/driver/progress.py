"""What a caller is told while a run goes on."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step of a run.

    Attributes:
      phase: "inputs", "baselines", "training", "compile", "search" or "finish".
      generation: generations done, 0 for the sampled one.
      generations: generations in all, None if another budget ends the run.
      evaluations: candidates evaluated.
      best: best fitness so far.
      mean_fitness: mean fitness of the last generation.
      evaluations_per_second: of the last block of generations.
    """

    phase: str
    generation: int | None = None
    generations: int | None = None
    evaluations: int = 0
    best: float | None = None
    mean_fitness: float | None = None
    evaluations_per_second: float | None = None


OnRecord = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """The listener of a run that nobody watches."""
