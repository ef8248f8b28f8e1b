"""SqueezeNet 1.1 for 224x224 images, as trained on ImageNet.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size" (arXiv:1602.07360), with the smaller stem and earlier pooling of the authors' version 1.1.
Names and preprocessing are those of torchvision's checkpoints. The head is a convolution with a
ReLU behind, so that logits are never negative.
"""

import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import conv, dropout, relu, through
from jgaprune.converters.models.pixels import IMAGENET_224
from jgaprune.types import Array

_FIRES = (3, 4, 6, 7, 9, 10, 11, 12)
"""Places of the fire modules among the features; between them images are pooled."""
_SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)
_EXPANDED = (64, 64, 128, 128, 192, 192, 256, 256)


class Fire(nnx.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 ones beside each other."""

    def __init__(self, num_in: int, squeezed: int, expanded: int, rngs: nnx.Rngs):
        self.squeeze = conv(num_in, squeezed, 1, bias=True, rngs=rngs)
        self.expand1x1 = conv(squeezed, expanded, 1, bias=True, rngs=rngs)
        self.expand3x3 = conv(squeezed, expanded, 3, padding=1, bias=True, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = relu(self.squeeze(x))
        return jnp.concatenate([relu(self.expand1x1(x)), relu(self.expand3x3(x))], axis=-1)


class SqueezeNet(nnx.Module):
    """`[N, 224, 224, 3] -> [N, C]`; other heights and widths work, too."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        num_in = config["stem"]
        features = [conv(3, num_in, 3, stride=2, bias=True, rngs=rngs), relu, pool]
        for place, squeezed, expanded in zip(
            _FIRES, config["squeezed"], config["expanded"], strict=True
        ):
            features += [pool] * (place - len(features))
            features.append(Fire(num_in, squeezed, expanded, rngs))
            num_in = 2 * expanded
        self.features = nnx.List(features)
        head = conv(num_in, config["num_classes"], 1, bias=True, rngs=rngs)
        self.classifier = nnx.List([dropout, head, relu])

    def __call__(self, x: Array) -> Array:
        x = through([*self.features, *self.classifier], x)
        return x.mean(axis=(1, 2))


def pool(x: Array) -> Array:
    """The largest of 3x3 pixels at every second place; windows may reach over the far edges."""
    padding = tuple((0, (size - 3) % 2) for size in x.shape[1:3])
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=padding)


def _build(config: Config, rngs: nnx.Rngs) -> SqueezeNet:
    faults = [
        f"{name} must be {len(_FIRES)} numbers such as {example}, got {config[name]}."
        for name, example in (("squeezed", _SQUEEZED), ("expanded", _EXPANDED))
        if len(config[name]) != len(_FIRES)
    ]
    if faults:
        raise ConversionError(f"arguments of squeezenet1_1: {' '.join(faults)}")
    return SqueezeNet(config, rngs)


def _infer(shapes: Shapes) -> Config:
    def rows(layer: str, defaults: tuple[int, ...]) -> tuple[int, ...]:
        names = (f"features.{place}.{layer}.weight" for place in _FIRES)
        return tuple(map(lambda name, size: rows_of(shapes, name, size), names, defaults))

    return {
        "stem": rows_of(shapes, "features.0.weight", 64),
        "squeezed": rows("squeeze", _SQUEEZED),
        "expanded": rows("expand1x1", _EXPANDED),
        "num_classes": rows_of(shapes, "classifier.1.weight", 1000),
    }


def _is_likely(shapes: Shapes) -> bool:
    return all(f"features.{place}.squeeze.weight" in shapes for place in _FIRES)


SQUEEZENET1_1 = Architecture(
    name="squeezenet1_1",
    build=_build,
    infer=_infer,
    input_shape=lambda config: (224, 224, 3),
    preprocessing=IMAGENET_224,
    is_likely=_is_likely,
)
