"""The `offsets` space: how much each layer is favoured over a saliency's global threshold.

A genome is one real number per layer, optionally one more per output channel. It is added to
the log of the saliency, and one global threshold then gives exactly the budget: the genome moves
budget between layers (and channels), the saliency decides within them. Every mask that follows
the saliency's order within each layer has a genome, so all magnitude-based one-shot masks can
seed the search whatever their share per layer.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.masks import Layout, join, keep_top, kept_for, split
from jgaprune.types import Array, Key, Masks, MaskSpace, Scores

_SPREAD = 0.3
"""Standard deviation of a sampled offset, and of the largest mutation step, in log units.

About the distance between the one-shot methods themselves. Offsets an order of magnitude larger
lower the fitness on synthesised inputs, but not the error on real ones.
"""
_OVERSHOOT = 0.25
"""How far a child may lie beyond its parents, as a share of their distance."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    num_kept: int
    per_channel: bool

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels per leaf: its last axis."""
        return tuple(shape[-1] for shape in self.layout.shapes)

    @property
    def num_genes(self) -> int:
        return len(self.layout.names) + (sum(self.channels) if self.per_channel else 0)


def offsets(
    saliency: Scores, layout: Layout, sparsity: float, *, per_channel: bool = False
) -> MaskSpace:
    """Real offsets per layer, and per output channel if asked, on the log of a saliency.

    Args:
      saliency: non-negative scores, as from `jgaprune.saliency`; infinite ones always stay
        (`saliency.protect` gives every layer its minimum that way).
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      per_channel: also one gene per output channel (the last axis of each leaf).

    Returns:
      A space of genomes `float32 [G]`, one gene per layer in layout order, then the channels'.

    Raises:
      ValueError: sparsity out of range.
    """
    plan = _Plan(layout, kept_for(sparsity, layout.num_weights), per_channel)
    log_saliency = {name: log_scores(saliency[name]) for name in layout.names}
    return MaskSpace(
        sample=Partial(_sample, plan),
        decode=Partial(_decode, plan, log_saliency),
        encode=Partial(_encode, plan, log_saliency),
        mutate=Partial(_mutate, plan),
        cross=Partial(_cross, plan),
        strength=(0.1, 1.0),
    )


def log_scores(scores: Array) -> Array:
    """Logarithm in which zero scores stay finite, so that offsets still order them last."""
    return jnp.log(jnp.maximum(scores.astype(jnp.float32), jnp.finfo(jnp.float32).tiny))


def _sample(plan: _Plan, key: Key) -> Array:
    return _SPREAD * jax.random.normal(key, (plan.num_genes,))


def _decode(plan: _Plan, log_saliency: Scores, genome: Array) -> Masks:
    return split(
        keep_top(join(_shifted(plan, log_saliency, genome), plan.layout), plan.num_kept),
        plan.layout,
    )


def _shifted(plan: _Plan, log_saliency: Scores, genome: Array) -> Scores:
    """The log saliency with each layer's, and each channel's, offset added."""
    num_layers = len(plan.layout.names)
    start = num_layers
    shifted = {}
    for index, name in enumerate(plan.layout.names):
        shifted[name] = log_saliency[name] + genome[index]
        if plan.per_channel:
            shifted[name] += genome[start : start + plan.channels[index]]
            start += plan.channels[index]
    return shifted


def _encode(plan: _Plan, log_saliency: Scores, masks: Masks) -> Array:
    """Offsets under which every layer keeps as many weights as `masks` do."""
    layer_genes = [-boundary(log_saliency[name], masks[name]) for name in plan.layout.names]
    genes = jnp.stack(layer_genes)
    return jnp.pad(genes, (0, plan.num_genes - genes.shape[0]))


def boundary(log_saliency: Array, mask: Array) -> Array:
    """Halfway between the last kept and the first removed score of a layer of this size."""
    flat = log_saliency.reshape(-1)
    kept = keep_top(flat, jnp.sum(mask, dtype=jnp.int32))
    last_kept = jnp.min(jnp.where(kept, flat, jnp.inf))
    first_removed = jnp.max(jnp.where(kept, -jnp.inf, flat))
    middle = 0.5 * (last_kept + first_removed)
    one_sided = jnp.where(jnp.isfinite(last_kept), last_kept - 1.0, first_removed + 1.0)
    return jnp.where(jnp.isfinite(middle), middle, one_sided)


def _mutate(plan: _Plan, key: Key, genome: Array, strength: Array) -> Array:
    return stepped(key, genome, strength * _SPREAD)


def stepped(key: Key, genes: Array, size: Array) -> Array:
    """Gaussian steps on a random quarter of the genes `[G]`, at least one."""
    choice_key, sure_key, step_key = jax.random.split(key, 3)
    chosen = jax.random.bernoulli(choice_key, 0.25, genes.shape)
    chosen |= jnp.arange(genes.size) == jax.random.randint(sure_key, (), 0, genes.size)
    return jnp.where(chosen, genes + size * jax.random.normal(step_key, genes.shape), genes)


def _cross(plan: _Plan, key: Key, first: Array, second: Array) -> Array:
    return blend(key, first, second)


def blend(key: Key, first: Array, second: Array) -> Array:
    """Blend crossover (Eshelman and Schaffer, 1993): each gene between its parents' or near."""
    share = jax.random.uniform(key, first.shape, minval=-_OVERSHOOT, maxval=1.0 + _OVERSHOOT)
    return first + share * (second - first)
