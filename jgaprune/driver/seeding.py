"""What a search starts from: one-shot masks, measured, and the best of them trained by gradient."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from jgaprune.driver.baselines import given_scores, one_shot_masks, scores_for
from jgaprune.driver.contenders import best_of
from jgaprune.driver.ground import Ground
from jgaprune.driver.measure import measure_baselines
from jgaprune.driver.plan import Choices
from jgaprune.driver.progress import OnRecord, Progress, stepwise
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.driver.train import Steps, choose_steps, train_masks
from jgaprune.model import Model
from jgaprune.report import Baseline
from jgaprune.types import Key, Masks, Params, Scores


class Seeding(NamedTuple):
    """What a search starts from, by name.

    Attributes:
      scores: saliencies, which spaces are built on.
      masks: of each of them.
      baselines: what the masks are worth, with and without the repair.
      steps: of gradient training, of these masks and of the weights at the end.
      warnings: where nothing could be trained.
      trained: the weights that were trained along with masks, unmasked; None if none were, or if
        none are to be distilled.
    """

    scores: dict[str, Scores]
    masks: dict[str, Masks]
    baselines: dict[str, Baseline]
    steps: Steps
    warnings: tuple[str, ...]
    trained: Params | None = None


def make_seeds(
    model: Model,
    ground: Ground,
    choices: Choices,
    sparsity: float,
    key: Key,
    *,
    usual_steps: int,
    asked_steps: int | None,
    watch: Stopwatch,
    tell: OnRecord,
    given: Sequence[Masks] = (),
) -> Seeding:
    """Scores and measures the one-shot masks, and trains the best of them.

    Args:
      model: the dense network.
      ground: what measures them.
      choices: of the caller.
      sparsity: fraction to remove.
      key: of training.
      usual_steps: of training, for this effort and budget.
      asked_steps: of training, that the caller asked for; None for the usual number.
      watch: counts the seconds of each part.
      tell: what the run is watched by.
      given: masks of the caller's, at this sparsity or another.
    """
    tell(Progress("baselines"))
    inputs, refits, layout = ground.inputs, ground.refits, model.layout
    scores = scores_for(
        *(choices.spaces, model, sparsity, inputs.for_repair, refits),
        tell=lambda name: tell(Progress("baselines", name)),
    )
    scores |= given_scores(model.params, layout, given)
    watch.lap("one_shot")
    masks = one_shot_masks(scores, layout, sparsity)
    measure = partial(
        measure_baselines, ground.judge, tell=lambda name: tell(Progress("baselines", name))
    )
    baselines = measure(masks)
    watch.lap("baselines")

    steps, warnings = choose_steps(
        model,
        usual_steps,
        asked=asked_steps,
        choices=choices,
        repair=ground.repair,
        inputs=inputs,
    )
    params = None
    if steps.masks:
        tell(Progress("training"))
        start = scores["lamp" if refits is None else best_of(baselines)]
        on_step = stepwise(tell, "training", steps.masks)
        training = model, sparsity, inputs.all, start, refits, steps.masks, key
        trained = train_masks(*training, on_step=on_step)
        params = trained.params if refits is not None and steps.weights else None
        scores["straight_through"] = trained.scores
        more = one_shot_masks({"straight_through": trained.scores}, layout, sparsity)
        masks, baselines = masks | more, baselines | measure(more)
    watch.lap("training")
    return Seeding(scores, masks, baselines, steps, warnings, params)
