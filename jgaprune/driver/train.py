"""The gradient's part of a run: masks trained before the search, weights distilled after it."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.driver.inputs import Inputs
from jgaprune.driver.plan import Choices, Swaps
from jgaprune.inputs import variation_of
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.repair import batch_norm_delta
from jgaprune.report import LABELLED_OBJECTIVES
from jgaprune.saliency import one_shot, ranked
from jgaprune.training import (
    OnStep,
    Trained,
    Training,
    distil,
    gradient_of,
    gradient_swaps,
    imitation,
    straight_through,
)
from jgaprune.types import Array, Buffers, Key, Masks, MaskSpace, Params, Repair, Scores

_SCORE_RATE_ALONE = 0.025
"""Learning rate of scores where the weights stay: then only the masks can make up for a loss."""


class Steps(NamedTuple):
    """Steps of training, of the masks before the search and of the weights after it."""

    masks: int
    weights: int


def choose_steps(
    model: Model,
    usual: int,
    *,
    asked: int | None,
    choices: Choices,
    repair: str | Repair,
    inputs: Inputs,
) -> tuple[Steps, tuple[str, ...]]:
    """How long to train, and why not where it was to be expected.

    Masks are trained for the space that has a place for them, unless inputs are noise or the
    objective needs labels; weights where the repair is to distil them.

    Args:
      model: the dense network.
      usual: steps for this effort and budget.
      asked: steps that the caller asked for.
      choices: of the caller.
      repair: of the run.
      inputs: of the run.
    """
    fit = "bases" in choices.spaces and _can_imitate(choices, repair, inputs)
    count = usual if asked is None else asked
    steps = Steps(count if fit else 0, count if repair == "distil" else 0)
    if not any(steps) or has_gradient(model, inputs.all):
        return steps, ()
    return Steps(0, 0), (
        f"JAX cannot differentiate {model.spec.name}: nothing was trained by gradient.",
    )


def _can_imitate(choices: Choices, repair: str | Repair, inputs: Inputs) -> bool:
    """Whether the loss of training is about what the run minimises."""
    _, objective, evolver = choices.names()
    label_free = objective not in (*LABELLED_OBJECTIVES, "custom")
    repaired = isinstance(repair, str) and repair != "none"
    return label_free and repaired and inputs.origin != "noise" and not evolver.startswith("paper")


def choose_swaps(
    model: Model, choices: Choices, repair: str | Repair, inputs: Inputs, refits: Repair | None
) -> tuple[Swaps | None, tuple[str, ...]]:
    """What makes mutations ask for a gradient in the space "weights", and why not where expected.

    Args:
      model: the dense network.
      choices: of the caller; their evolver must mutate.
      repair: of the run.
      inputs: of the run.
      refits: the run's repair if it refits weights.
    """
    mutates = choices.evolver in ("genetic", "level_switch")
    fit = "weights" in choices.spaces and mutates and _can_imitate(choices, repair, inputs)
    if not fit:
        return None, ()
    if not has_gradient(model, inputs.all):
        return None, (f"JAX cannot differentiate {model.spec.name}: no mutation asks a gradient.",)
    return partial(_with_swaps, model, inputs, refits), ()


def _with_swaps(
    model: Model,
    inputs: Inputs,
    refits: Repair | None,
    space: MaskSpace,
    saliency: Scores,
    masks: Masks | None,
) -> MaskSpace:
    """Gradients at the weights as refitted to the best masks so far, if they are refitted."""
    known = refits is not None and masks is not None
    params = _refitted(model, refits, masks) if known else model.params
    loss, layout = imitation(model), model.layout
    return gradient_swaps(
        space, loss, params, saliency, layout, inputs.all, vary=variation_of(model.spec)
    )


def train_masks(
    model: Model,
    sparsity: float,
    inputs: Array,
    start: Scores,
    refits: Repair | None,
    steps: int,
    key: Key,
    on_step: OnStep | None = None,
) -> Trained:
    """Scores trained straight through, and the weights that were trained along.

    Args:
      model: the dense network.
      sparsity: fraction to remove.
      inputs: of the run, unlabelled.
      start: one-shot scores to start from; those of the best masks are the best start.
      refits: the run's repair if it refits weights, which are then trained along; else the
        weights stay as they are.
      steps: of training.
      key: of its batches.
      on_step: called before every step.
    """
    if refits is None:
        params = model.params
        settings = Training(steps, score_rate=_SCORE_RATE_ALONE, weight_rate=0.0)
    else:
        # Scores of all kinds in one unit, that of the learning rate.
        start, settings = ranked(start, model.layout, sparsity), Training(steps)
        params = _refitted(model, refits, one_shot(start, model.layout, sparsity))
    return straight_through(
        imitation(model),
        params,
        start,
        model.layout,
        sparsity,
        inputs,
        key,
        settings=settings,
        vary=variation_of(model.spec),
        on_step=on_step,
    )


def distilled(
    model: Model,
    params: Params,
    masks: Masks,
    inputs: Inputs,
    steps: int,
    key: Key,
    on_step: OnStep | None = None,
) -> tuple[Params, Buffers]:
    """Weights trained further, with the batch-norm statistics that belong to them.

    Args:
      model: the dense network.
      params: to start from.
      masks: what is kept.
      inputs: of the run, unlabelled.
      steps: of training.
      key: of its batches.
      on_step: called before every step.
    """
    train_key, seen_key = jax.random.split(key)
    params = distil(
        imitation(model),
        params,
        masks,
        inputs.all,
        train_key,
        settings=Training(steps),
        vary=variation_of(model.spec),
        on_step=on_step,
    )
    return with_statistics(model, inputs, seen_key)(params, masks)


def with_statistics(
    model: Model, inputs: Inputs, key: Key
) -> Callable[[Params, Masks], tuple[Params, Buffers]]:
    """What masks trained weights, and makes the batch-norm statistics that belong to them.

    The statistics move as they did in training, on variations of all inputs: where much has been
    removed, other inputs would move them elsewhere, and undo what was learnt.

    Args:
      model: the dense network.
      inputs: of the run, unlabelled; the weights were trained on variations of them.
      key: of the variations.
    """
    statistics = batch_norm_delta(model, variation_of(model.spec)(key, inputs.all))

    def corrected(params: Params, masks: Masks) -> tuple[Params, Buffers]:
        return _corrected(statistics, apply_masks(params, masks), model.buffers)

    return corrected


def has_gradient(model: Model, inputs: Array) -> bool:
    """Whether JAX can differentiate the network, which may hold loops of unknown length."""
    gradient = partial(gradient_of(imitation(model)), model.params)
    try:
        jax.eval_shape(gradient, inputs[:2])
    except Exception:  # whatever the caller's own functions raise
        return False
    return True


@jax.jit
def _refitted(model: Model, refits: Repair, masks: Masks) -> Params:
    """Kept weights as refitted, removed ones as they were."""
    _, params, _ = refits.fit(apply_masks(model.params, masks), model.buffers)
    kept = {name: jnp.where(mask, params[name], model.params[name]) for name, mask in masks.items()}
    return {**params, **kept}


@jax.jit
def _corrected(statistics: Repair, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
    _, params, buffers = statistics.fit(params, buffers)
    return params, buffers
