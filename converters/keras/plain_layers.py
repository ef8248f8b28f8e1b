"""Keras's layers without weights, as functions; those that only act in training do nothing."""

from functools import reduce
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.keras.activations import clipped_relu
from jgaprune.converters.keras.kind import Kind, channels_last
from jgaprune.converters.keras.saved import Config
from jgaprune.converters.keras.weighted_layers import pair
from jgaprune.types import Array


def _same(config: Config, module: Any, x: Array) -> Array:
    return x


def _relu(config: Config, module: Any, x: Array) -> Array:
    slope, threshold = config.get("negative_slope") or 0.0, config.get("threshold") or 0.0
    return clipped_relu(x, slope, threshold, config.get("max_value"))


def _leaky_relu(config: Config, module: Any, x: Array) -> Array:
    slope = config.get("negative_slope", config.get("alpha", 0.3))
    return jnp.where(x >= 0, x, float(slope) * x)


def _leaky_relu_faults(config: Config) -> list[str]:
    slope = config.get("negative_slope", config.get("alpha", 0.3))
    return [] if isinstance(slope, int | float) else [f"slope {slope!r:.30}"]


def _softmax(config: Config, module: Any, x: Array) -> Array:
    return nnx.softmax(x, axis=config.get("axis", -1))


def _softmax_faults(config: Config) -> list[str]:
    axis = config.get("axis", -1)
    return [] if isinstance(axis, int) else [f"axis {axis!r:.30}"]


def _max_pool(config: Config, module: Any, x: Array) -> Array:
    return nnx.max_pool(x, *_window(config))


def _average_pool(config: Config, module: Any, x: Array) -> Array:
    return nnx.avg_pool(x, *_window(config), count_include_pad=False)


def _window(config: Config) -> tuple[tuple[int, int], tuple[int, int], str]:
    size = pair(config.get("pool_size", 2))
    return size, pair(config.get("strides") or size), config.get("padding", "valid").upper()


def _global_average(config: Config, module: Any, x: Array) -> Array:
    return jnp.mean(x, axis=(1, 2), keepdims=bool(config.get("keepdims")))


def _global_max(config: Config, module: Any, x: Array) -> Array:
    return jnp.max(x, axis=(1, 2), keepdims=bool(config.get("keepdims")))


def _flatten(config: Config, module: Any, x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


def _reshape(config: Config, module: Any, x: Array) -> Array:
    return x.reshape(x.shape[0], *config["target_shape"])


def _zero_padding(config: Config, module: Any, x: Array) -> Array:
    padding = config.get("padding", 1)
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    return jnp.pad(x, ((0, 0), pair(rows), pair(columns), (0, 0)))


def _concatenate(config: Config, module: Any, *inputs: Array) -> Array:
    return jnp.concatenate(inputs, axis=config.get("axis", -1))


def _add(config: Config, module: Any, *inputs: Array) -> Array:
    return reduce(jnp.add, inputs)


def _multiply(config: Config, module: Any, *inputs: Array) -> Array:
    return reduce(jnp.multiply, inputs)


def _rescaling(config: Config, module: Any, x: Array) -> Array:
    scale, offset = jnp.asarray(config["scale"]), jnp.asarray(config.get("offset", 0.0))
    return x * scale.astype(x.dtype) + offset.astype(x.dtype)


def _pool_faults(config: Config) -> list[str]:
    padding = config.get("padding", "valid")
    faults = [] if padding in ("valid", "same") else [f"padding {padding!r:.30}"]
    return [*channels_last(config), *faults]


_ONLY_IN_TRAINING = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
)

PLAIN: dict[str, Kind] = {
    **{name: Kind(_same) for name in (*_ONLY_IN_TRAINING, "InputLayer", "Identity", "Activation")},
    "ReLU": Kind(_relu),
    "LeakyReLU": Kind(_leaky_relu, faults=_leaky_relu_faults),
    "Softmax": Kind(_softmax, faults=_softmax_faults),
    "MaxPooling2D": Kind(_max_pool, faults=_pool_faults),
    "AveragePooling2D": Kind(_average_pool, faults=_pool_faults),
    "GlobalAveragePooling2D": Kind(_global_average, faults=channels_last),
    "GlobalMaxPooling2D": Kind(_global_max, faults=channels_last),
    "Flatten": Kind(_flatten, faults=channels_last),
    "Reshape": Kind(_reshape),
    "ZeroPadding2D": Kind(_zero_padding, faults=channels_last),
    "Concatenate": Kind(_concatenate),
    "Add": Kind(_add),
    "Multiply": Kind(_multiply),
    "Rescaling": Kind(_rescaling),
}
"""Layers without weights by Keras's class names; an activation is applied after each."""
