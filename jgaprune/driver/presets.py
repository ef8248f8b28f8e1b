"""How much a run spends: evaluations of the search, and steps of gradient training."""

from dataclasses import dataclass, replace

from jgaprune.driver.budget import Budget


@dataclass(frozen=True)
class Effort:
    """What a run spends where the caller leaves it open.

    Attributes:
      evaluations: candidates, where a repair corrects statistics only.
      refitted: candidates, where each evaluation refits the weights: about ten times the work.
      steps: of gradient training, of the masks before the search and of the weights after it.
    """

    evaluations: int
    refitted: int
    steps: int

    def budget(self, asked: Budget, refits: bool, generation: int = 0) -> Budget:
        """What was asked for; the usual number of evaluations if nothing was.

        Args:
          asked: by the caller.
          refits: whether evaluations refit weights.
          generation: candidates of one, in all stages, where their number was asked for.
        """
        usual = self.refitted if refits else self.evaluations
        return asked.resolved(max(usual, _FEWEST_GENERATIONS * generation))

    def steps_within(self, budget: Budget, refits: bool, population: int) -> int:
        """Steps in proportion to a budget that is smaller than usual.

        >>> PRESETS["default"].steps_within(Budget(evaluations=40), refits=True, population=8)
        400
        """
        usual = self.refitted if refits else self.evaluations
        counts = [usual, budget.evaluations or usual]
        if budget.generations is not None:
            counts.append((1 + budget.generations) * population)
        return round(self.steps * min(counts) / usual)


_FEWEST_GENERATIONS = 4
_USUAL = Effort(evaluations=1000, refitted=120, steps=1200)
PRESETS = {
    "fast": replace(_USUAL, evaluations=334, refitted=40, steps=400),
    "default": _USUAL,
    "thorough": replace(_USUAL, evaluations=4000, refitted=480, steps=4800),
}
