"""The `bases` space: per layer, which of several saliencies orders its weights, and how much.

A genome is two real numbers per layer: an offset as in `offsets`, and a pick. The pick names the
saliency that decides within the layer, the offset moves budget between layers, and one global
threshold gives exactly the budget. The one-shot mask of every base has a genome, so that all of
them, trained ones too, can be seeds of one search, and layers of one be crossed with another's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jgaprune.masks import Layout, join, keep_top, kept_for, split
from jgaprune.spaces.offsets import blend, boundary, log_scores, stepped
from jgaprune.types import Array, Key, Masks, MaskSpace, Scores

_SPREAD = 0.15
"""Standard deviation of a sampled offset, and of the largest mutation step."""
_NEAR = 0.2
"""Share of the kept weights on either side of the threshold that set the unit of offsets."""
_REPICKED = 0.1
"""Share of the layers that the strongest mutation gives another base."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    num_kept: int
    num_bases: int

    @property
    def num_layers(self) -> int:
        return len(self.layout.names)


def bases(saliencies: Sequence[Scores], layout: Layout, sparsity: float) -> MaskSpace:
    """One of several saliencies per layer, with real offsets between layers.

    Scores are brought to a common unit: near its threshold, an offset of 1 multiplies the number
    of weights that a base keeps by e.

    Args:
      saliencies: non-negative scores, as from `jgaprune.saliency`, one per base; infinite ones
        always stay (`saliency.protect`).
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).

    Returns:
      A space of genomes `float32 [2 L]`, for `L` layers: offsets, then picks in 0..number of
      bases, rounded down.

    Raises:
      ValueError: no base, or sparsity out of range.
    """
    if not saliencies:
        raise ValueError("the space 'bases' needs at least one saliency, got none.")
    plan = _Plan(layout, kept_for(sparsity, layout.num_weights), len(saliencies))
    stacked, _ = _stacked(plan, saliencies)
    return MaskSpace(
        sample=Partial(_sample, plan),
        decode=Partial(_decode, plan, stacked),
        encode=Partial(_encode, plan, stacked),
        mutate=Partial(_mutate, plan),
        cross=Partial(_cross, plan),
        strength=(0.1, 1.0),
    )


def order_of(saliencies: Sequence[Scores], layout: Layout, sparsity: float, masks: Masks) -> Scores:
    """One saliency that says the same as masks, as far as several together can.

    In each layer it is the one that keeps most of what the masks keep, scaled such that one
    threshold for all layers keeps as many of its weights. Where masks are those of a genome of
    `bases`, they are its one-shot masks. What a finer space is built on.

    Args:
      saliencies: as in `bases`.
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      masks: within its budget.

    Returns:
      Non-negative scores, infinite where the chosen ones are, with a threshold of 1.
    """
    plan = _Plan(layout, kept_for(sparsity, layout.num_weights), len(saliencies))
    stacked, slope = _stacked(plan, saliencies)
    return _followed(plan, stacked, slope, masks)


@partial(jax.jit, static_argnames=("plan",))
def _followed(plan: _Plan, stacked: Scores, slope: Array, masks: Masks) -> Scores:
    scores = {}
    for name in plan.layout.names:
        offset, pick = _encode_layer(stacked[name], masks[name])
        scores[name] = jnp.exp(slope * (stacked[name][pick.astype(jnp.int32)] + offset))
    return scores


def _stacked(plan: _Plan, saliencies: Sequence[Scores]) -> tuple[Scores, Array]:
    """All of them in a common unit, `[B, ...]` per leaf, and that unit in log scores on average."""
    common, slopes = zip(*(_in_common_unit(plan, one) for one in saliencies), strict=True)
    # On the host: XLA on CPU takes seconds to compile a stack of some shapes.
    host = jax.device_get(common)
    stacked = {
        name: jnp.asarray(np.stack([one[name] for one in host])) for name in plan.layout.names
    }
    return stacked, jnp.mean(jnp.asarray(slopes))


@partial(jax.jit, static_argnames=("plan",))
def _in_common_unit(plan: _Plan, scores: Scores) -> tuple[Scores, Array]:
    """Log scores whose one-shot threshold is 0, in units of the log of the number kept."""
    logs = {name: log_scores(scores[name]) for name in plan.layout.names}
    flat = join(logs, plan.layout)
    middle = _threshold(flat, plan.num_kept)
    most = min(int((1 + _NEAR) * plan.num_kept), flat.size - 1)
    least = max(1, int((1 - _NEAR) * plan.num_kept))
    slope = (_threshold(flat, least) - _threshold(flat, most)) / jnp.log(most / least)
    slope = jnp.where(jnp.isfinite(slope) & (slope > 0), slope, 1.0)
    return {name: (one - middle) / slope for name, one in logs.items()}, slope


def _threshold(flat: Array, num_kept: int) -> Array:
    """The smallest finite score kept, or the largest of all where none is."""
    finite = jnp.isfinite(flat)
    kept = keep_top(flat, num_kept) & finite
    smallest = jnp.min(jnp.where(kept, flat, jnp.inf))
    return jnp.where(jnp.any(kept), smallest, jnp.max(jnp.where(finite, flat, -jnp.inf)))


def _sample(plan: _Plan, key: Key) -> Array:
    """Offsets around those of a base that all layers share."""
    offset_key, pick_key = jax.random.split(key)
    offsets = _SPREAD * jax.random.normal(offset_key, (plan.num_layers,))
    pick = jax.random.uniform(pick_key, (), maxval=plan.num_bases)
    return jnp.concatenate([offsets, jnp.full(plan.num_layers, pick)])


def _picks(plan: _Plan, genome: Array) -> Array:
    """The base of each layer, `int32 [L]`."""
    picks = jnp.floor(genome[plan.num_layers :]).astype(jnp.int32)
    return jnp.clip(picks, 0, plan.num_bases - 1)


def _decode(plan: _Plan, stacked: Scores, genome: Array) -> Masks:
    picks = _picks(plan, genome)
    shifted = {
        name: stacked[name][picks[layer]] + genome[layer]
        for layer, name in enumerate(plan.layout.names)
    }
    return split(keep_top(join(shifted, plan.layout), plan.num_kept), plan.layout)


def _encode(plan: _Plan, stacked: Scores, masks: Masks) -> Array:
    """Per layer the base that keeps most of what the mask keeps, and as many weights as it."""
    offsets, picks = zip(
        *(_encode_layer(stacked[name], masks[name]) for name in plan.layout.names), strict=True
    )
    return jnp.stack([*offsets, *picks])


def _encode_layer(choices: Array, mask: Array) -> tuple[Array, Array]:
    flat, mask = choices.reshape(choices.shape[0], -1), mask.reshape(-1)
    kept = jax.vmap(keep_top, in_axes=(0, None))(flat, jnp.sum(mask, dtype=jnp.int32))
    pick = jnp.argmax(jnp.sum(kept & mask, axis=1))
    return -boundary(flat[pick], mask), pick.astype(jnp.float32) + 0.5


def _mutate(plan: _Plan, key: Key, genome: Array, strength: Array) -> Array:
    """Steps on a random quarter of the offsets; rarely another base for a layer."""
    step_key, choice_key, pick_key = jax.random.split(key, 3)
    offsets = stepped(step_key, genome[: plan.num_layers], strength * _SPREAD)
    shape = (plan.num_layers,)
    chosen = jax.random.bernoulli(choice_key, strength * _REPICKED, shape)
    picks = jax.random.uniform(pick_key, shape, maxval=plan.num_bases)
    return jnp.concatenate([offsets, jnp.where(chosen, picks, genome[plan.num_layers :])])


def _cross(plan: _Plan, key: Key, first: Array, second: Array) -> Array:
    """Offsets blended where both parents have the same base, else base and offset of one."""
    blend_key, choice_key = jax.random.split(key)
    from_first = jax.random.bernoulli(choice_key, 0.5, (plan.num_layers,))
    either = jnp.where(jnp.tile(from_first, 2), first, second)
    same = _picks(plan, first) == _picks(plan, second)
    offsets = blend(blend_key, first[: plan.num_layers], second[: plan.num_layers])
    offsets = jnp.where(same, offsets, either[: plan.num_layers])
    return jnp.concatenate([offsets, either[plan.num_layers :]])
