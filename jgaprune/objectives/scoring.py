"""What all objectives share: one repair and one forward pass, whatever is compared then.

An objective is parts, each a comparison with its reference, on one model, inputs and repair. So
parts can be joined: a weighted sum still repairs once and runs the network once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jgaprune.masks import apply_masks, count_kept
from jgaprune.model import Model, real_tokens
from jgaprune.objectives.watching import Features, features_of
from jgaprune.types import Array, Key, Masks, Objective, Repair, Score

Comparison = Callable[[Any, Any], tuple[Array, Array]]
"""`logits [N, C] or features, reference -> (fitness [], loss [])`; a module-level function."""


class Part(NamedTuple):
    """One comparison.

    Attributes:
      compare: a `Comparison`, as a `Partial`.
      reference: what it compares with: `Features` if it looks at features, else of logits.
    """

    compare: Comparison
    reference: Any


class Setting(NamedTuple):
    """What candidates are measured on.

    Attributes:
      model: the dense model.
      inputs: `[N, ...]`; None for those of the repair, whose logits cost no forward pass.
      repair: applied to every candidate before it is measured, or None.
    """

    model: Model
    inputs: Array | None
    repair: Repair | None

    @property
    def shown(self) -> Array:
        """The inputs that are looked at.

        Raises:
          ValueError: there are none.
        """
        if self.inputs is not None:
            return self.inputs
        if self.repair is None:
            raise ValueError(
                "an objective needs inputs: pass inputs=[N, ...], or a repair with some."
            )
        return self.repair.inputs

    @property
    def dense_logits(self) -> Array:
        """`[N, C]`, of the dense network on what is shown."""
        return _dense_logits(self.model, self.shown)


@jax.jit
def _dense_logits(model: Model, inputs: Array) -> Array:
    return model.apply(model.params, model.buffers, inputs)


def objective_of(
    compare: Comparison, setting: Setting, reference: Any, counted: np.ndarray | None = None
) -> Objective:
    """The objective of one comparison.

    Where every token has logits, those of padding are left out of it.

    Args:
      compare: a module-level function.
      setting: what candidates are measured on.
      reference: what it compares with.
      counted: `bool [N, L]`, tokens to look at; by default those that are no padding.
    """
    comparison = Partial(compare)
    if setting.model.spec.label_shape and not isinstance(reference, Features):
        real = real_tokens(setting.model.spec, setting.shown) if counted is None else counted
        if real is not None and not np.all(real):
            places = jnp.asarray(np.flatnonzero(real))
            comparison = Partial(_at_places, comparison, places)
            reference = jax.tree.map(lambda leaf: _taken(leaf, places), reference)
    return Partial(score_one, Part(comparison, reference), setting)


def _at_places(compare: Comparison, places: Array, logits: Array, reference: Any):
    """A comparison at some of all tokens, as if there were no others."""
    return compare(_taken(logits, places), reference)


def _taken(values: Array, places: Array) -> Array:
    """Of values of tokens `[N, L, ...]` those at places among all `N * L`: `[M, ...]`."""
    return values.reshape(-1, *values.shape[2:])[places]


def score_one(part: Part, setting: Setting, key: Key, masks: Masks) -> Score:
    """One comparison, with its own loss."""
    [(fitness, loss)] = _compared([part], setting, masks)
    return Score(fitness, loss, count_kept(masks))


def score_together(
    weights: list[Array], parts: list[Part], setting: Setting, key: Key, masks: Masks
) -> Score:
    """The weighted sum of the fitness of several comparisons."""
    found = _compared(parts, setting, masks)
    pairs = zip(weights, found, strict=True)
    total = sum((weight * fitness for weight, (fitness, _) in pairs), jnp.float32(0))
    return Score(total, total, count_kept(masks))


def _compared(parts: list[Part], setting: Setting, masks: Masks) -> list[tuple[Array, Array]]:
    model, inputs, repair = setting
    params, buffers = apply_masks(model.params, masks), model.buffers
    if repair is not None:
        logits, params, buffers = repair.fit(params, buffers)
    features = None
    if any(isinstance(part.reference, Features) for part in parts):
        features = features_of(model, params, buffers, setting.shown)
        logits = features.logits
    elif inputs is not None:
        logits = model.apply(params, buffers, inputs)
    return [
        part.compare(features if isinstance(part.reference, Features) else logits, part.reference)
        for part in parts
    ]
