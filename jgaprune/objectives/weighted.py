"""Several objectives as one: the weighted sum of what they say."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.masks import count_kept
from jgaprune.objectives.scoring import Part, Setting, score_one, score_together
from jgaprune.types import Array, Key, Masks, Objective, Score


def weighted_sum(
    parts: Mapping[Objective, float] | Sequence[tuple[Objective, float]],
) -> Objective:
    """The weighted sum of the fitness of several objectives.

    Those of this package that were built on the same model, inputs and repair (the same objects)
    are measured together: one repair and one forward pass. Others are called one by one, with
    the same key.

    Args:
      parts: objectives and their weights.

    Returns:
      An `Objective`, whose `loss` is its fitness.

    Raises:
      ValueError: there are no parts, or a weight is not a finite number above 0.

    >>> def removed(key, masks):
    ...     return Score(-count_kept(masks).astype(jnp.float32), jnp.float32(0), count_kept(masks))
    >>> both = weighted_sum([(removed, 1.0), (removed, 0.5)])
    >>> float(both(None, {"w": jnp.array([True, True, False])}).fitness)
    -3.0
    """
    pairs = list(parts.items() if isinstance(parts, Mapping) else parts)
    wrong = [f"{weight:g}" for _, weight in pairs if not 0 < weight < math.inf]
    if not pairs or wrong:
        raise ValueError(
            "weighted_sum needs objectives with weights that are finite and above 0, got "
            f"{', '.join(wrong) if wrong else 'none at all'}. Fitness is minimised."
        )
    joined = _joined([(_as_partial(objective), float(weight)) for objective, weight in pairs])
    if len(joined) == 1 and joined[0].func is score_together:
        return joined[0]
    return Partial(_sum, joined)


def _as_partial(objective: Objective) -> Partial:
    """The same, where it may enter a compiled program as an argument."""
    return objective if isinstance(objective, Partial) else Partial(objective)


def _sum(objectives: list[Objective], key: Key, masks: Masks) -> Score:
    fitness = sum((objective(key, masks).fitness for objective in objectives), jnp.float32(0))
    return Score(fitness, fitness, count_kept(masks))


def _joined(pairs: Sequence[tuple[Any, float]]) -> list[Any]:
    """Weighted objectives, with those of ours that share their setting in one."""
    groups: list[tuple[Setting, list[Array], list[Part]]] = []
    others: list[Any] = []
    for objective, weight in pairs:
        if objective.func not in (score_one, score_together):
            others.append(Partial(_scaled, jnp.float32(weight), objective))
            continue
        *weights, parts, setting = objective.args
        parts = parts if weights else [parts]
        inner = weights[0] if weights else [jnp.float32(1)]
        found = next((group for group in groups if _same(group[0], setting)), None)
        if found is None:
            found = (setting, [], [])
            groups.append(found)
        found[1].extend(weight * one for one in inner)
        found[2].extend(parts)
    ours = [Partial(score_together, weights, parts, setting) for setting, weights, parts in groups]
    return [*ours, *others]


def _scaled(weight: Array, objective: Objective, key: Key, masks: Masks) -> Score:
    score = objective(key, masks)
    return score._replace(fitness=weight * score.fitness)


def _same(first: Setting, second: Setting) -> bool:
    """Whether two settings hold the very same model, inputs and repair."""
    return all(one is other for one, other in zip(first, second, strict=True))
