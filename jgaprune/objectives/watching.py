"""What a network's layers see: the features that an objective can look at beside the logits."""

from typing import NamedTuple

import jax

from jgaprune.model import Model, real_tokens, without_padding
from jgaprune.ops import Both, Product, Rules, in_lockstep
from jgaprune.types import Array, Buffers, Params

_MOST_PLACES = 8
"""Along each spatial axis: neighbours say the same, and the dense network's are kept."""


class Features(NamedTuple):
    """What one network makes of inputs.

    Attributes:
      layers: `[N, ...]` by leaf name, what enters each layer, at up to 8 evenly spaced places
        along each axis between the first and the last; layers that share their inputs share one
        entry, and the model's own inputs have none.
      logits: `[N, C]`.

    Of tokens that are padding both are zero.
    """

    layers: dict[str, Array]
    logits: Array


@jax.jit
def features_of(model: Model, params: Params, buffers: Buffers, inputs: Array) -> Features:
    """The features of a network in one forward pass.

    Looked at is what enters the prunable convolutions and dense layers: behind normalisation,
    activations and the sums of residual blocks, where a repair has done its work. What a `scan`
    or another loop hides is not seen.

    Args:
      model: whose program and layers.
      params: of the dense or of a pruned network.
      buffers: that go with them.
      inputs: `[N, ...]`.
    """
    seen: dict[str, Array] = {}
    real = real_tokens(model.spec, inputs)

    def watch(name: str, product: Product, inputs: Both, weights: Both) -> Array:
        if name in model.spec.prunable:
            seen[name] = inputs.pruned
        return weights.pruned

    rules = Rules(watch, lambda name, sums, bias: bias.pruned, lambda batch, stored: stored.pruned)
    rest = (buffers, inputs)
    logits, _ = in_lockstep(model.apply, rules, params, params, Both(rest, rest))
    first_with = {id(value): name for name, value in reversed(seen.items())}
    layers = {name: seen[name] for name in first_with.values() if seen[name] is not inputs}
    real_only = {name: without_padding(value, real) for name, value in layers.items()}
    few = {name: _few_places(value) for name, value in real_only.items()}
    return Features(few, without_padding(logits, real))


def _few_places(value: Array) -> Array:
    between = value.shape[1:-1]
    return value[(slice(None), *(slice(None, None, -(-size // _MOST_PLACES)) for size in between))]
