"""The one-shot methods: what a search is compared with, starts from, and builds its space on."""

import math
from collections.abc import Callable, Collection, Sequence

import jax
import jax.numpy as jnp

from jgaprune import saliency
from jgaprune.masks import Layout
from jgaprune.model import Model
from jgaprune.types import Array, Masks, Params, Repair, Scores

_BY_MAGNITUDE = {
    "magnitude": saliency.magnitude,
    "uniform_magnitude": saliency.uniform_magnitude,
    "lamp": saliency.lamp,
    "erk": saliency.erk,
}
_AFFORDABLE = 2e11
"""Most numbers that `exact_obs` may touch: a minute or so on two CPU cores."""


def scores_for(
    spaces: Collection[object],
    model: Model,
    sparsity: float,
    inputs: Array,
    refits: Repair | None,
    tell: Callable[[str], None],
) -> dict[str, Scores]:
    """All scores where one of the spaces is "bases", else those by magnitude."""
    if "bases" in spaces:
        return one_shot_scores(model, sparsity, inputs, refits, tell)
    return magnitude_scores(model.params, model.layout, sparsity)


def one_shot_scores(
    model: Model,
    sparsity: float,
    inputs: Array,
    refits: Repair | None,
    tell: Callable[[str], None] = lambda name: None,
) -> dict[str, Scores]:
    """The scores of every one-shot method, by name, and those of gradual pruning.

    They are what the space "bases" is built on.

    Args:
      model: the dense network.
      sparsity: fraction to remove.
      inputs: of the run, unlabelled.
      refits: the run's repair if it refits weights: then they are also pruned gradually.
      tell: called with the name of each before it is worked out.
    """
    scores = magnitude_scores(model.params, model.layout, sparsity)
    makers: dict[str, Callable[[], Scores]] = {
        "lookahead": lambda: saliency.lookahead(model.params, model.layout, sparsity),
        "synflow": lambda: saliency.synflow(model, sparsity),
        "wanda": lambda: saliency.wanda(model, inputs, sparsity),
        "obs": lambda: saliency.obs(model, inputs, sparsity),
        "exact_obs": lambda: saliency.exact_obs(model, inputs, sparsity),
    }
    makers = {name: make for name, make in makers.items() if name in _affordable(model)}
    if refits is not None:
        makers["gradual"] = lambda: saliency.gradual(model, refits, sparsity)
    for name, make in makers.items():
        tell(name)
        # Devices work behind the caller's back: who is told should be told in time.
        scores[name] = jax.block_until_ready(make())
    return scores


def blank_scores(
    spaces: Collection[object], model: Model, sparsity: float, *, fitted: Sequence[str] = ()
) -> dict[str, Scores]:
    """Scores of the names and shapes of `scores_for`, in next to no time: all by magnitude.

    Args:
      spaces: of the run.
      model: the dense network.
      sparsity: fraction to remove.
      fitted: those that refitting and training would add, where a space is "bases".
    """
    scores = magnitude_scores(model.params, model.layout, sparsity)
    more = (*_affordable(model), *fitted) if "bases" in spaces else ()
    return scores | dict.fromkeys(more, scores["magnitude"])


def _affordable(model: Model) -> tuple[str, ...]:
    """One-shot methods beside those by magnitude that such a network can be scored by."""
    # No token is an input of all ones.
    synflow = ("synflow",) if model.spec.vocabulary is None else ()
    exact = ("exact_obs",) if _numbers_touched(model.layout) < _AFFORDABLE else ()
    return "lookahead", *synflow, "wanda", "obs", *exact


def given_scores(params: Params, layout: Layout, given: Sequence[Masks]) -> dict[str, Scores]:
    """Scores of the caller's masks: what they keep before what they remove, each by magnitude.

    So their own masks come back at their own sparsity, and at another one those that are nearest.

    Args:
      params: of the dense network.
      layout: of its prunable leaves.
      given: masks; may be none.
    """
    largest = max(float(jnp.max(jnp.abs(params[name]))) for name in layout.names)
    return {
        f"given {number}" if number > 1 else "given": {
            name: jnp.asarray(masks[name], jnp.float32)
            + 0.5 * jnp.abs(params[name]).astype(jnp.float32) / (largest or 1.0)
            for name in layout.names
        }
        for number, masks in enumerate(given, 1)
    }


def _numbers_touched(layout: Layout) -> float:
    """By `exact_obs`: for every output, its inverse matrix once per input."""
    columns = [(math.prod(shape[:-1]), shape[-1]) for shape in layout.shapes]
    return sum(
        outputs * float(inputs) ** 3
        for inputs, outputs in columns
        if inputs <= saliency.MOST_INPUTS
    )


def magnitude_scores(params: Params, layout: Layout, sparsity: float) -> dict[str, Scores]:
    """Those that order each layer by magnitude, cheap, and expressible in every space."""
    return {name: score(params, layout, sparsity) for name, score in _BY_MAGNITUDE.items()}


def one_shot_masks(scores: dict[str, Scores], layout: Layout, sparsity: float) -> dict[str, Masks]:
    """The masks of every one of them, by name."""
    return {name: saliency.one_shot(one, layout, sparsity) for name, one in scores.items()}
