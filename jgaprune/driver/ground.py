"""What everything in a run is measured with: its inputs, its repair, and the judge of both."""

from typing import NamedTuple

import jax
import numpy as np

from jgaprune.driver.choices import REFITTING
from jgaprune.driver.inputs import Inputs, hold_out, make_inputs
from jgaprune.driver.measure import EvaluationData, Judge
from jgaprune.driver.plan import Choices
from jgaprune.driver.wiring import Keys, choose_repair, inputs_to_score, make_judge, make_repair
from jgaprune.inputs import variation_of
from jgaprune.model import Model
from jgaprune.types import Array, Repair


class Ground(NamedTuple):
    """What a run stands on.

    Attributes:
      inputs: of the run, less those held out.
      repair: its name, or the caller's own.
      fitted: the repair on these inputs; None for none.
      varied: the inputs varied once more, for fitness where weights are refitted to the inputs
        themselves, and for statistics where masks may have been trained on variations; None
        with labels, which would not hold.
      judge: measures masks.
    """

    inputs: Inputs
    repair: str | Repair
    fitted: Repair | None
    varied: Array | None
    judge: Judge

    @property
    def refits(self) -> Repair | None:
        """The repair if it changes weights, not only statistics."""
        return self.fitted if self.repair in REFITTING else None


def make_ground(
    model: Model,
    choices: Choices,
    keys: Keys,
    *,
    inputs: Array | np.ndarray | None,
    labels: Array | np.ndarray | None,
    supplement: bool,
    num_inputs: int | None,
    repair: str | Repair,
    evaluation_data: EvaluationData | None,
    known: tuple[Inputs, Array | None] | None = None,
) -> Ground:
    """Makes or takes the inputs, and what measures masks with them.

    Where weights are refitted, some inputs are held out for the choice at the end; not from
    labelled ones, whose accuracy is the fitness.

    Args:
      model: the dense network.
      choices: of the caller.
      keys: of the run.
      inputs: of the caller, or None.
      labels: of the inputs, or None.
      supplement: whether synthesised inputs may join given ones.
      num_inputs: how many are synthesised; None for the usual number.
      repair: its name, or the caller's own.
      evaluation_data: labelled, for the report alone.
      known: inputs of the same run, and varied ones, that need not be made again.
    """
    if known is None:
        chosen = make_inputs(
            model,
            inputs,
            repair,
            keys.inputs,
            supplement=supplement and labels is None,
            num_inputs=num_inputs,
        )
        repair = choose_repair(repair, choices, chosen.origin)
        if repair in REFITTING and labels is None:
            chosen = hold_out(chosen, keys.choice)
        vary, key = variation_of(model.spec), jax.random.fold_in(keys.inputs, 1)
        varied = None if labels is not None else vary(key, chosen.all)
    else:
        chosen, varied = known
        repair = choose_repair(repair, choices, chosen.origin)
    if repair not in REFITTING and "bases" not in choices.spaces:
        varied = None
    fitted = make_repair(model, chosen, repair, varied)
    shown = inputs_to_score(chosen, repair, fitted)
    judge = make_judge(
        model, choices.objective, shown, labels, fitted, keys.scores, evaluation_data
    )
    return Ground(chosen, repair, fitted, varied, judge)
