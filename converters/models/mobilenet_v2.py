"""MobileNetV2 for 224x224 images, as trained on ImageNet, of any widths.

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (CVPR 2018,
arXiv:1801.04381), table 2. Names and preprocessing are those of torchvision's checkpoints.
"""

from itertools import accumulate, pairwise
from typing import Any

from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import batch_norm, conv, dropout, relu6, through
from jgaprune.converters.models.pixels import IMAGENET_224
from jgaprune.types import Array

_EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_STAGES = tuple(accumulate(_BLOCKS, initial=1))
"""Places of the stages' first blocks among the features, and of the last convolution."""
_WIDTHS = (32, 16, 24, 32, 64, 96, 160, 320, 1280)
"""Channels behind the first convolution, the seven stages, and the last convolution."""


class InvertedResidual(nnx.Module):
    """To more channels, a 3x3 convolution of each alone, to fewer channels without a ReLU."""

    def __init__(self, num_in: int, num_out: int, stride: int, expansion: int, rngs: nnx.Rngs):
        hidden = num_in * expansion
        expand = [_conv_norm_relu(num_in, hidden, 1, rngs=rngs)] if expansion > 1 else []
        depthwise = _conv_norm_relu(hidden, hidden, 3, stride=stride, groups=hidden, rngs=rngs)
        shrink = [conv(hidden, num_out, 1, rngs=rngs), batch_norm(num_out, rngs)]
        self.conv = nnx.List([*expand, depthwise, *shrink])
        self.has_shortcut = stride == 1 and num_in == num_out

    def __call__(self, x: Array) -> Array:
        y = through(self.conv, x)
        return x + y if self.has_shortcut else y


class MobileNetV2(nnx.Module):
    """`[N, 224, 224, 3] -> [N, C]`; other heights and widths work, too."""

    def __init__(self, widths: tuple[int, ...], num_classes: int, rngs: nnx.Rngs):
        *before, last = widths
        features: list[Any] = [_conv_norm_relu(3, before[0], 3, stride=2, rngs=rngs)]
        stages = zip(pairwise(before), _EXPANSIONS, _BLOCKS, _STRIDES, strict=True)
        for (num_in, num_out), expansion, num_blocks, stride in stages:
            features.append(InvertedResidual(num_in, num_out, stride, expansion, rngs))
            for _ in range(num_blocks - 1):
                features.append(InvertedResidual(num_out, num_out, 1, expansion, rngs))
        features.append(_conv_norm_relu(before[-1], last, 1, rngs=rngs))
        self.features = nnx.List(features)
        self.classifier = nnx.List([dropout, nnx.Linear(last, num_classes, rngs=rngs)])

    def __call__(self, x: Array) -> Array:
        x = through(self.features, x)
        return through(self.classifier, x.mean(axis=(1, 2)))


def _conv_norm_relu(
    num_in: int, num_out: int, size: int, *, stride: int = 1, groups: int = 1, rngs: nnx.Rngs
) -> nnx.List:
    convolution = conv(
        num_in, num_out, size, stride=stride, padding=size // 2, groups=groups, rngs=rngs
    )
    return nnx.List([convolution, batch_norm(num_out, rngs), relu6])


def _build(config: Config, rngs: nnx.Rngs) -> MobileNetV2:
    if len(config["widths"]) != len(_WIDTHS):
        raise ConversionError(
            f"widths of mobilenet_v2 must be {len(_WIDTHS)} numbers such as {_WIDTHS}, "
            f"got {config['widths']}."
        )
    return MobileNetV2(config["widths"], config["num_classes"], rngs)


def _infer(shapes: Shapes) -> Config:
    first = ["features.1.conv.1.weight", *(f"features.{s}.conv.2.weight" for s in _STAGES[1:-1])]
    names = ["features.0.0.weight", *first, f"features.{_STAGES[-1]}.0.weight"]
    return {
        "widths": tuple(map(lambda name, width: rows_of(shapes, name, width), names, _WIDTHS)),
        "num_classes": rows_of(shapes, "classifier.1.weight", 1000),
    }


def _is_likely(shapes: Shapes) -> bool:
    return "features.1.conv.0.0.weight" in shapes and f"features.{_STAGES[-1]}.0.weight" in shapes


MOBILENET_V2 = Architecture(
    name="mobilenet_v2",
    build=_build,
    infer=_infer,
    input_shape=lambda config: (224, 224, 3),
    preprocessing=IMAGENET_224,
    is_likely=_is_likely,
)
