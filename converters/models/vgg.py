"""VGG with batch-norm: 11 and 16 layers, for 224x224 images and for 32x32 ones.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR
2015, arXiv:1409.1556), table 1, columns A and D, every convolution followed by batch-norm. Names
are torchvision's. The networks for CIFAR pool each channel to one value, and have one dense layer
(kuangliu/pytorch-cifar) or three (chenyaofo/pytorch-cifar-models, chengyangfu/
pytorch-vgg-cifar10); their preprocessing is kuangliu's.
"""

import re
from functools import partial

from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import (
    batch_norm,
    conv,
    dropout,
    flatten,
    max_pool,
    relu,
    through,
)
from jgaprune.converters.models.pixels import CIFAR10, IMAGENET_224
from jgaprune.converters.models.pooling import adaptive_average_pool
from jgaprune.types import Array

_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
"""By depth, in each of the five stages."""
_WIDTHS = (64, 128, 256, 512, 512)
_POOLED = 7
"""Height and width of what the dense layers read, where images are of ImageNet."""
_DENSE = (0, 3, 6)
_DENSE_AFTER_DROPOUT = (1, 4, 6)


def vgg_bn(depth: int) -> Architecture:
    """The VGG for ImageNet; widths of its layers and `num_classes` are read off the file."""
    return Architecture(
        name=f"vgg{depth}_bn",
        build=partial(_build, depth, _POOLED),
        infer=partial(_infer, depth, (4096, 4096)),
        input_shape=lambda config: (224, 224, 3),
        preprocessing=IMAGENET_224,
        flattened=lambda config: {"classifier.0": (config["widths"][-1], _POOLED, _POOLED)},
        is_likely=partial(_is_likely, depth, _POOLED),
        renamed=_renamed,
    )


def cifar_vgg_bn(depth: int) -> Architecture:
    """The VGG for CIFAR; `hidden` layers behind the convolutions are read off the file, too."""
    return Architecture(
        name=f"cifar_vgg{depth}_bn",
        build=partial(_build, depth, 1),
        infer=partial(_infer, depth, ()),
        input_shape=lambda config: (32, 32, 3),
        preprocessing=CIFAR10,
        is_likely=partial(_is_likely, depth, 1),
        renamed=_renamed,
    )


class Vgg(nnx.Module):
    """`[N, H, W, 3] -> [N, C]`; the features are pooled to `pooled` pixels each way."""

    def __init__(self, depth: int, pooled: int, config: Config, rngs: nnx.Rngs):
        widths = iter(config["widths"])
        features, num_in = [], 3
        for num_convolutions in _CONVOLUTIONS[depth]:
            for _ in range(num_convolutions):
                num_out = next(widths)
                convolution = conv(num_in, num_out, 3, padding=1, bias=True, rngs=rngs)
                features += [convolution, batch_norm(num_out, rngs), relu]
                num_in = num_out
            features.append(max_pool)
        self.features = nnx.List(features)
        self.pooled = pooled
        self.classifier = _head(num_in * pooled**2, config["hidden"], config["num_classes"], rngs)

    def __call__(self, x: Array) -> Array:
        x = through(self.features, x)
        x = flatten(adaptive_average_pool(x, self.pooled, self.pooled))
        return through([self.classifier], x)


def _head(
    num_in: int, hidden: tuple[int, ...], num_classes: int, rngs: nnx.Rngs
) -> nnx.List | nnx.Linear:
    layers = []
    for num_hidden in hidden:
        layers += [nnx.Linear(num_in, num_hidden, rngs=rngs), relu, dropout]
        num_in = num_hidden
    last = nnx.Linear(num_in, num_classes, rngs=rngs)
    return nnx.List([*layers, last]) if hidden else last


def _build(depth: int, pooled: int, config: Config, rngs: nnx.Rngs) -> Vgg:
    num_convolutions = sum(_CONVOLUTIONS[depth])
    faults = []
    if len(config["widths"]) != num_convolutions:
        faults.append(
            f"widths must be {num_convolutions} numbers, one per convolution, "
            f"got {config['widths']}."
        )
    if len(config["hidden"]) not in (0, 2):
        faults.append(f"hidden must be () or two numbers, got {config['hidden']}.")
    if faults:
        raise ConversionError(f"arguments of a VGG of {depth} layers: {' '.join(faults)}")
    return Vgg(depth, pooled, config, rngs)


def _places(depth: int) -> list[int]:
    """Of the convolutions among the features; each has a norm and a ReLU, each stage a pool."""
    places, place = [], 0
    for num_convolutions in _CONVOLUTIONS[depth]:
        places += [place + 3 * index for index in range(num_convolutions)]
        place += 3 * num_convolutions + 1
    return places


def _infer(depth: int, hidden: tuple[int, ...], shapes: Shapes) -> Config:
    ours = {**shapes, **{our: shapes[theirs] for our, theirs in _renamed(shapes).items()}}
    defaults = [
        width
        for width, count in zip(_WIDTHS, _CONVOLUTIONS[depth], strict=True)
        for _ in range(count)
    ]
    names = [f"features.{place}.weight" for place in _places(depth)]
    last = "classifier.weight"
    if hidden or "classifier.0.weight" in ours:
        hidden = tuple(rows_of(ours, f"classifier.{place}.weight", 4096) for place in _DENSE[:2])
        last = f"classifier.{_DENSE[-1]}.weight"
    return {
        "widths": tuple(map(lambda name, width: rows_of(ours, name, width), names, defaults)),
        "hidden": hidden,
        "num_classes": rows_of(ours, last, 10 if last == "classifier.weight" else 1000),
    }


def _renamed(shapes: Shapes) -> dict[str, str]:
    """Where features alone were wrapped for several GPUs, or dropout comes before dense layers."""
    renamed = {
        name.replace("features.module.", "features.", 1): name
        for name in shapes
        if name.startswith("features.module.")
    }
    if f"classifier.{_DENSE_AFTER_DROPOUT[0]}.weight" in shapes:
        for ours, theirs in zip(_DENSE, _DENSE_AFTER_DROPOUT, strict=True):
            names = [f"classifier.{theirs}.{kind}" for kind in ("weight", "bias")]
            found = [name for name in names if name in shapes]
            renamed |= {name.replace(str(theirs), str(ours), 1): name for name in found}
    return renamed


def _is_likely(depth: int, pooled: int, shapes: Shapes) -> bool:
    """Whether convolutions are where they should be, and the first dense layer fits the pool."""
    found = {}
    for name, shape in shapes.items():
        if len(shape) == 4 and (
            match := re.fullmatch(r"features\.(?:module\.)?(\d+)\.weight", name)
        ):
            found[int(match[1])] = shape[0]
    dense = [
        shape for name, shape in shapes.items() if name.startswith("classifier") and len(shape) == 2
    ]
    if not dense or sorted(found) != _places(depth):
        return False
    return max(0, found[_places(depth)[-1]]) * pooled**2 in {shape[1] for shape in dense}
