"""How far a run has come: what its loop changes, its result is made of, and checkpoints keep."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from jgaprune.engine import SearchState
from jgaprune.report import History
from jgaprune.types import Genome, Masks, MaskSpace


class Spent(NamedTuple):
    """What the stages before one have spent: it counts on from there."""

    evaluations: int = 0
    generations: int = 0
    failures: int = 0


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
      state: of the last search; of no use unless `whole`.
      stage: number of the last search.
      best_stage: of the search that found the best.
      entries: the best masks at the beginning of each search but the first.
      before: what the searches before the last one spent.
      whole: whether state and numbers belong together; False while a block is at work.
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
    stage: int = 0
    best_stage: int = 0
    entries: list[Masks] = field(default_factory=list)
    before: Spent = Spent()
    whole: bool = False

    @property
    def evaluations(self) -> int:
        """Candidates evaluated so far."""
        return self.history.evaluations[-1] if self.history.evaluations else 0

    @property
    def best(self) -> float:
        """Best fitness so far."""
        return self.history.best[-1] if self.history.best else math.inf

    def begin_stage(self) -> None:
        """Counts on from here; the first generation of a further search is one more."""
        self.before = Spent(self.evaluations, self.generation, self.failures)
        self.stage += 1
        self.generation += 1
