"""Gains of layer-norms and RMS-norms, refitted to what the dense network had behind them.

Pruning changes the moments of what a norm gives, and without running statistics to move only the
gain can answer, channel by channel. It is scaled by the ratio that brings the pruned products
nearest to the dense ones in the mean square: `<dense, pruned> / <pruned, pruned>`, of deviations
from the means where a bias follows and takes over the mean.

Matching the moments instead, `sigma_dense / sigma_pruned` or the ratio of root mean squares, would
scale up what is error alone; and least squares is what the weights are refitted by, and has no
square root whose slope is infinite at a dead channel.
"""

import jax.numpy as jnp

from jgaprune.model import without_padding
from jgaprune.ops import Both, Gain
from jgaprune.repair.batch_norm import Bounds
from jgaprune.types import Array


def regained(
    bounds: Bounds,
    gain: Gain,
    products: Both,
    *,
    mean_follows: bool,
    real: Array | None = None,
) -> Array:
    """The gain that brings the products nearest to the dense network's.

    Args:
      bounds: the square root of `variance_ratio` is the factor by which a gain may change, either
        way.
      gain: where it is used.
      products: with the gain.
      mean_follows: whether a bias takes over the difference of the means.
      real: `bool [N, L]` where tokens are no padding, which is left out; None for no padding.

    Returns:
      Like the leaf; an element whose products are all zero stays as it is.
    """
    if products.dense is products.pruned:
        return gain.leaf.pruned
    dense, pruned = (one.astype(jnp.float32) for one in products)
    if mean_follows:
        dense, pruned = _centred(gain, dense, real), _centred(gain, pruned, real)
    dense, pruned = without_padding(dense, real), without_padding(pruned, real)
    power = gain.total(jnp.square(pruned))
    alive = power > 0  # twice, since the slope of a quotient by zero is not a number
    ratio = jnp.where(alive, gain.total(dense * pruned) / jnp.where(alive, power, 1.0), 1.0)
    limit = bounds.variance_ratio**0.5
    return gain.leaf.pruned * jnp.clip(ratio, 1.0 / limit, limit)


def _centred(gain: Gain, products: Array, real: Array | None) -> Array:
    counted = without_padding(jnp.ones_like(products), real)
    mean = gain.total(without_padding(products, real)) / gain.total(counted)
    return products - gain.spread(mean)
