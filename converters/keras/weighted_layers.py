"""Keras's layers that have weights, as NNX layers of the same weights.

Shapes come from the file, everything else from the layer's arguments.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.keras.kind import Kind, Shapes, Weight, apply_module, channels_last
from jgaprune.converters.keras.saved import Config
from jgaprune.types import Array


class SeparableConv(nnx.Module):
    """A depthwise convolution, then one of single pixels."""

    def __init__(self, config: Config, shapes: Shapes, rngs: nnx.Rngs):
        self.depthwise = _depthwise(config, shapes["depthwise_kernel"], False, rngs)
        *_, num_in, num_out = shapes["pointwise_kernel"]
        self.pointwise = nnx.Conv(
            num_in, num_out, (1, 1), use_bias=config.get("use_bias", True), rngs=rngs
        )

    def __call__(self, x: Array) -> Array:
        """`[N, H, W, channels]` to the same."""
        return self.pointwise(self.depthwise(x))


class Normalization(nnx.Module):
    """Inputs with the mean and variance that were measured once on data."""

    def __init__(self, shapes: Shapes):
        self.mean = nnx.BatchStat(jnp.zeros(shapes["mean"]))
        self.variance = nnx.BatchStat(jnp.ones(shapes["variance"]))

    def __call__(self, x: Array) -> Array:
        """Inputs with mean 0 and variance 1 on that data."""
        # Keras bounds the deviation by its own epsilon.
        deviation = jnp.maximum(jnp.sqrt(self.variance[...]), 1e-7)
        return (x - self.mean[...]) / deviation


def _bias(config: Config, leaf: str = "bias") -> list[Weight]:
    return [Weight("bias", leaf, 1)] if config.get("use_bias", True) else []


def _dense(config: Config, shapes: Shapes, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(*shapes["kernel"], use_bias=config.get("use_bias", True), rngs=rngs)


def _conv(config: Config, shapes: Shapes, rngs: nnx.Rngs) -> nnx.Conv:
    *size, num_in, num_out = shapes["kernel"]
    groups = config.get("groups", 1)
    return nnx.Conv(
        num_in * groups,
        num_out,
        tuple(size),
        feature_group_count=groups,
        use_bias=config.get("use_bias", True),
        rngs=rngs,
        **_window(config),
    )


def _depthwise_conv(config: Config, shapes: Shapes, rngs: nnx.Rngs) -> nnx.Conv:
    return _depthwise(config, shapes["kernel"], config.get("use_bias", True), rngs)


def _depthwise(config: Config, shape: tuple[int, ...], bias: bool, rngs: nnx.Rngs) -> nnx.Conv:
    *size, num_in, multiplier = shape
    return nnx.Conv(
        num_in,
        num_in * multiplier,
        tuple(size),
        feature_group_count=num_in,
        use_bias=bias,
        rngs=rngs,
        **_window(config),
    )


def _window(config: Config) -> dict[str, Any]:
    return {
        "strides": pair(config.get("strides", 1)),
        "kernel_dilation": pair(config.get("dilation_rate", 1)),
        "padding": config.get("padding", "valid").upper(),
    }


def pair(size: Any) -> tuple[int, int]:
    """Height and width from one number or two."""
    high, wide = (size, size) if isinstance(size, int) else size
    return int(high), int(wide)


def _conv_faults(config: Config) -> list[str]:
    faults = channels_last(config)
    padding = config.get("padding", "valid")
    return faults if padding in ("valid", "same") else [*faults, f"padding {padding!r:.30}"]


def _batch_norm_weights(config: Config) -> list[Weight]:
    return [
        *([Weight("gamma", "scale", 1)] if config.get("scale", True) else []),
        *([Weight("beta", "bias", 1)] if config.get("center", True) else []),
        Weight("moving_mean", "mean", 1),
        Weight("moving_variance", "var", 1),
    ]


def _batch_norm(config: Config, shapes: Shapes, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(
        *shapes["moving_mean"],
        use_running_average=True,
        epsilon=config.get("epsilon", 1e-3),
        use_scale=config.get("scale", True),
        use_bias=config.get("center", True),
        rngs=rngs,
    )


def _apply_norm(config: Config, module: Any, x: Array) -> Array:
    (axis,) = _axes(config)
    if axis % x.ndim != x.ndim - 1:
        raise ValueError(
            f"a {type(module).__name__} layer normalises axis {axis} of {x.ndim}, not the last one"
        )
    return apply_module(config, module, x)


def _axes(config: Config) -> list[int]:
    axis = config.get("axis", -1)
    return axis if isinstance(axis, list) else [axis]


def _norm_faults(config: Config) -> list[str]:
    faults = [] if len(_axes(config)) == 1 else [f"axis {config['axis']!r:.30}"]
    return [*faults, *(["rms_scaling"] if config.get("rms_scaling") else [])]


def _layer_norm_weights(config: Config) -> list[Weight]:
    return _batch_norm_weights(config)[:-2]


def _layer_norm(config: Config, shapes: Shapes, rngs: nnx.Rngs) -> nnx.LayerNorm:
    num_features = next(iter(shapes.values()), (1,))
    return nnx.LayerNorm(
        *num_features,
        epsilon=config.get("epsilon", 1e-3),
        use_scale=config.get("scale", True),
        use_bias=config.get("center", True),
        use_fast_variance=False,
        rngs=rngs,
    )


def _normalization_faults(config: Config) -> list[str]:
    given = config.get("mean") is not None or config.get("invert")
    faults = ["mean and variance as arguments, or inversion"] if given else []
    return [*faults, *([] if _axes(config) in ([-1], [3]) else [f"axis {config['axis']!r:.30}"])]


WEIGHTED: dict[str, Kind] = {
    "Dense": Kind(
        apply_module, lambda config: [Weight("kernel", "kernel", 2), *_bias(config)], _dense
    ),
    "Conv2D": Kind(
        apply_module,
        lambda config: [Weight("kernel", "kernel", 4), *_bias(config)],
        _conv,
        _conv_faults,
    ),
    "DepthwiseConv2D": Kind(
        apply_module,
        lambda config: [Weight("kernel", "kernel", 4), *_bias(config)],
        _depthwise_conv,
        _conv_faults,
    ),
    "SeparableConv2D": Kind(
        apply_module,
        lambda config: [
            Weight("depthwise_kernel", "depthwise.kernel", 4),
            Weight("pointwise_kernel", "pointwise.kernel", 4),
            *_bias(config, "pointwise.bias"),
        ],
        SeparableConv,
        _conv_faults,
    ),
    "BatchNormalization": Kind(_apply_norm, _batch_norm_weights, _batch_norm, _norm_faults),
    "LayerNormalization": Kind(_apply_norm, _layer_norm_weights, _layer_norm, _norm_faults),
    "Normalization": Kind(
        apply_module,
        lambda config: [
            Weight("mean", "mean", None),
            Weight("variance", "variance", None),
            Weight("count", "", None),
        ],
        lambda config, shapes, rngs: Normalization(shapes),
        _normalization_faults,
    ),
}
"""Layers with weights by Keras's class names."""
