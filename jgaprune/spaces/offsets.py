"""The `offsets` space: how much each layer is favoured over a saliency's global threshold.

A genome is one real number per block or layer, optionally one more per output or input channel.
It is added to the log of the saliency, and one global threshold then gives exactly the budget: the
genome moves budget between layers (or blocks, and channels), the saliency decides within them.
Every mask that follows the saliency's order within each layer has a genome, unless genes are per
block, so all magnitude-based one-shot masks can seed the search whatever their share per layer.
"""

import math
import re
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
_DETAILS = ("block", "layer", "output_channel", "input_channel")
_NUMBERED = re.compile(r"(?:[^.]+\.)*?(?:[^.]*_)?\d+(?=\.)")
"""The beginning of a name, up to its first numbered part."""
_OVERSHOOT = 0.25
"""How far a child may lie beyond its parents, as a share of their distance."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Plan:
    layout: Layout
    num_kept: int
    detail: str

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the leaves that share a gene, in the order of the genes."""
        if self.detail == "block":
            return blocks(self.layout)
        return tuple((name,) for name in self.layout.names)

    @property
    def channels(self) -> tuple[tuple[int, ...], ...]:
        """Shape of the channels' genes per leaf, to be added to it; a size of 0 for none."""
        if self.detail == "output_channel":
            return tuple((shape[-1],) for shape in self.layout.shapes)
        if self.detail == "input_channel":
            return tuple((shape[-2], 1) if len(shape) > 1 else (0,) for shape in self.layout.shapes)
        return ((0,),) * len(self.layout.names)

    @property
    def num_genes(self) -> int:
        return len(self.groups) + sum(math.prod(shape) for shape in self.channels)


def offsets(
    saliency: Scores, layout: Layout, sparsity: float, *, detail: str = "layer"
) -> MaskSpace:
    """Real offsets per block or layer, and per channel if asked, on the log of a saliency.

    Args:
      saliency: non-negative scores, as from `jgaprune.saliency`; infinite ones always stay
        (`saliency.protect` gives every layer its minimum that way).
      layout: the flat order of the prunable weights.
      sparsity: fraction to remove, in (0, 1).
      detail: what has a gene. "block", the layers whose names begin alike, as `blocks` says;
        "layer"; "output_channel", every layer and every entry of a leaf's last axis;
        "input_channel", every layer and every entry of the second to last axis, none where a leaf
        has one axis only.

    Returns:
      A space of genomes `float32 [G]`, one gene per block or layer in layout order, then the
      channels'.

    Raises:
      ValueError: sparsity out of range, or an unknown detail.
    """
    if detail not in _DETAILS:
        raise ValueError(f"detail must be one of {', '.join(_DETAILS)}, got {detail!r}.")
    plan = _Plan(layout, kept_for(sparsity, layout.num_weights), detail)
    log_saliency = {name: log_scores(saliency[name]) for name in layout.names}
    return MaskSpace(
        sample=Partial(_sample, plan),
        decode=Partial(_decode, plan, log_saliency),
        encode=Partial(_encode, plan, log_saliency),
        mutate=Partial(_mutate, plan),
        cross=Partial(_cross, plan),
        strength=(0.1, 1.0),
    )


def blocks(layout: Layout) -> tuple[tuple[str, ...], ...]:
    """The leaves by block, blocks in the order of their first leaf.

    A block is named by the beginning of a leaf's name, up to the first part that is a number or
    ends in `_` and one: `layer1.0` of `layer1.0.conv1.kernel`, `Block_2` of
    `Block_2.Conv_0.kernel`. A leaf without such a part is a block of its own.

    >>> blocks(Layout(("conv.kernel", "stage.0.a.kernel", "stage.0.b.kernel"), ((), (), ())))
    (('conv.kernel',), ('stage.0.a.kernel', 'stage.0.b.kernel'))
    """
    found: dict[str, list[str]] = {}
    for name in layout.names:
        numbered = _NUMBERED.match(name)
        found.setdefault(numbered.group() if numbered else name, []).append(name)
    return tuple(tuple(names) for names in found.values())


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
    """The log saliency with each block's or layer's, and each channel's, offset added."""
    gene_of = {name: index for index, group in enumerate(plan.groups) for name in group}
    start = len(plan.groups)
    shifted = {}
    for name, channels in zip(plan.layout.names, plan.channels, strict=True):
        shifted[name] = log_saliency[name] + genome[gene_of[name]]
        if num := math.prod(channels):
            shifted[name] += genome[start : start + num].reshape(channels)
            start += num
    return shifted


def _encode(plan: _Plan, log_saliency: Scores, masks: Masks) -> Array:
    """Offsets under which every block or layer keeps as many weights as `masks` do."""
    genes = [
        -boundary(_joined(log_saliency, group), _joined(masks, group)) for group in plan.groups
    ]
    return jnp.pad(jnp.stack(genes), (0, plan.num_genes - len(genes)))


def _joined(leaves: Scores, names: tuple[str, ...]) -> Array:
    return jnp.concatenate([leaves[name].reshape(-1) for name in names])


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
