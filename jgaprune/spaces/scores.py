"""The space `scores`: the paper's genome, one real score per prunable weight.

In every tensor the same share of weights is removed, those with the smallest |score|. Genomes
are `float32 [G]`, the tensors one after another, each flattened in the layout of the file it
came from, because a crossover cut means "everything before this place" in that order.

Method: sun-asterisk-research/ga_pruning_research. Its operators are kept as they are, also
where they are biased: a mutated score is much larger than the initial ones of a wide layer, so
a mutation there nearly always keeps the weight.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jgaprune.masks import Layout, keep_top, kept_for
from jgaprune.model import Model, ModelSpec
from jgaprune.model.model import fan_in
from jgaprune.types import Array, Key, Masks, MaskSpace


@dataclass(frozen=True)
class SourceView:
    """How one leaf lies in its source: reshape to `split`, transpose by `axes`, get the leaf."""

    split: tuple[int, ...]
    axes: tuple[int, ...]


@jax.tree_util.register_static
@dataclass(frozen=True)
class ScoresConfig:
    """What the functions of the space need to know. Static: hashes by value.

    Attributes:
      layout: the prunable leaves.
      views: one `SourceView` per leaf.
      num_removed: weights to remove per leaf.
      sparsity: fraction of the weights to remove.
    """

    layout: Layout
    views: tuple[SourceView, ...]
    num_removed: tuple[int, ...]
    sparsity: float


def scores(model: Model, sparsity: float) -> MaskSpace:
    """Real scores as in the paper; the same sparsity in every tensor.

    Here mutation strength is the rate per gene, as the paper counts it.

    Of a tensor of n weights, `int(sparsity * n)` are removed; the total can therefore be up to
    one weight per tensor below `sparsity * G`.

    Args:
      model: its prunable weights take part.
      sparsity: fraction of the weights of each tensor to remove, in (0, 1).

    Returns:
      a space of `float32 [G]` genomes.

    Raises:
      ValueError: sparsity is not in (0, 1), or nothing would be left.
    """
    layout = model.layout
    kept_for(sparsity, layout.num_weights)  # for its errors; the paper rounds per tensor
    config = ScoresConfig(
        layout=layout,
        views=source_views(model.spec, layout),
        num_removed=tuple(int(sparsity * size) for size in layout.sizes),
        sparsity=float(sparsity),
    )
    return MaskSpace(
        sample=Partial(_sample, config),
        decode=Partial(_decode, config),
        encode=Partial(_encode, config),
        mutate=Partial(_mutate, config),
        cross=Partial(_cross, config),
        strength=(1e-4, 0.02),
    )


def source_views(spec: ModelSpec, layout: Layout) -> tuple[SourceView, ...]:
    """How each leaf lies in its source; leaves without a source stay as they are."""
    tensors = dict(spec.tensors)
    return tuple(
        SourceView(tensors[name].split, tensors[name].axes)
        if name in tensors
        else SourceView(shape, tuple(range(len(shape))))
        for name, shape in zip(layout.names, layout.shapes, strict=True)
    )


def cut_points(key: Key, sizes: tuple[int, ...]) -> Array:
    """One cut per tensor, uniform in 0..size, both included: `int32 [number of tensors]`."""
    return jax.random.randint(key, (len(sizes),), 0, jnp.array(sizes, jnp.int32) + 1)


def cross_at(
    cuts: Array, first: Array, second: Array, sizes: tuple[int, ...]
) -> tuple[Array, Array]:
    """Both children of two parents for given cuts.

    Args:
      cuts: `int32`, one per tensor.
      first: `float32 [G]`.
      second: `float32 [G]`.
      sizes: number of weights per tensor; they add up to `G`.

    Returns:
      child one, `second` before the cut and `first` from it on, and child two, the other way
      round.

    >>> cross_at(jnp.array([1, 2]), jnp.zeros(4), jnp.ones(4), (2, 2))[0].tolist()
    [1.0, 0.0, 1.0, 1.0]
    """
    before = jnp.concatenate([jnp.arange(size) < cuts[i] for i, size in enumerate(sizes)])
    return jnp.where(before, second, first), jnp.where(before, first, second)


def mutation_draws(key: Key, num_genes: int) -> tuple[Array, Array]:
    """What a mutation draws: `[G]` in 0..1 to compare with the rate, `[G]` new scores in -1..1."""
    chance_key, value_key = jax.random.split(key)
    chances = jax.random.uniform(chance_key, (num_genes,))
    return chances, jax.random.uniform(value_key, (num_genes,), minval=-1.0, maxval=1.0)


def _sample(config: ScoresConfig, key: Key) -> Array:
    keys = jax.random.split(key, len(config.layout.names))
    parts = [
        jax.random.uniform(keys[i], (size,), minval=-bound, maxval=bound)
        for i, (size, bound) in enumerate(zip(config.layout.sizes, _bounds(config), strict=True))
    ]
    return jnp.concatenate(parts)


def _decode(config: ScoresConfig, genome: Array) -> Masks:
    layout, starts = config.layout, config.layout.starts
    masks = {}
    for i, (name, shape) in enumerate(zip(layout.names, layout.shapes, strict=True)):
        magnitudes = jnp.abs(genome[starts[i] : starts[i + 1]])
        kept = keep_top(magnitudes, layout.sizes[i] - config.num_removed[i])
        view = config.views[i]
        masks[name] = kept.reshape(view.split).transpose(view.axes).reshape(shape)
    return masks


def _encode(config: ScoresConfig, masks: Masks) -> Array:
    """Gives kept and removed weights the mean |score| that such weights have in a new genome.

    Masks with another number of kept weights in a tensor come back with as few changes as
    possible: the surplus is removed from the end of the tensor, or the missing are kept from
    its beginning.
    """
    low, high = config.sparsity / 2, (1 + config.sparsity) / 2
    parts = [
        jnp.where(_in_source_order(masks[name], view), high * bound, low * bound)
        for name, view, bound in zip(
            config.layout.names, config.views, _bounds(config), strict=True
        )
    ]
    return jnp.concatenate(parts).astype(jnp.float32)


def _mutate(config: ScoresConfig, key: Key, genome: Array, strength: Array) -> Array:
    chances, values = mutation_draws(key, config.layout.num_weights)
    return jnp.where(chances < strength, values, genome)


def _cross(config: ScoresConfig, key: Key, first: Array, second: Array) -> Array:
    sizes = config.layout.sizes
    return cross_at(cut_points(key, sizes), first, second, sizes)[0]


def _bounds(config: ScoresConfig) -> tuple[float, ...]:
    """Largest initial |score| per tensor: Kaiming-uniform with a = sqrt 5."""
    return tuple(1 / math.sqrt(fan_in(shape)) for shape in config.layout.shapes)


def _in_source_order(leaf: Array, view: SourceView) -> Array:
    viewed = leaf.reshape([view.split[axis] for axis in view.axes])
    return viewed.transpose(np.argsort(view.axes)).reshape(-1)
