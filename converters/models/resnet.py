"""ResNets for 224x224 images, as trained on ImageNet: 18, 34, 50, 101 and 152 layers.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016, arXiv:1512.03385), table 1,
with shortcut option B: a 1x1 convolution where the shape changes. From 50 layers on, blocks are
bottlenecks of three convolutions, with the stride in the 3x3 one as in torchvision ("V1.5"). Their
middle may be wider (Zagoruyko and Komodakis, arXiv:1605.07146) or in groups (Xie et al.,
arXiv:1611.05431). Names and preprocessing are those of torchvision's checkpoints.
"""

from functools import partial

from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import batch_norm, conv, relu, through
from jgaprune.converters.models.pixels import IMAGENET_224
from jgaprune.types import Array

_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_EXPANSION = 4
"""Channels behind a bottleneck, per channel of its stage."""


def resnet(depth: int) -> Architecture:
    """The ResNet with `depth` layers; its options are read off the file.

    They are `width`, the channels of the first stage, and `num_classes`; with bottlenecks also
    `middle`, the channels inside those of the first stage, and the `groups` of these.
    """
    return Architecture(
        name=f"resnet{depth}",
        build=partial(_build, depth),
        infer=partial(_infer, depth),
        input_shape=lambda config: (224, 224, 3),
        preprocessing=IMAGENET_224,
        is_likely=partial(_is_likely, depth),
    )


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    def __init__(self, num_in: int, num_out: int, stride: int, rngs: nnx.Rngs):
        self.conv1 = conv(num_in, num_out, 3, stride=stride, padding=1, rngs=rngs)
        self.bn1 = batch_norm(num_out, rngs)
        self.conv2 = conv(num_out, num_out, 3, padding=1, rngs=rngs)
        self.bn2 = batch_norm(num_out, rngs)
        self.downsample = _projection(num_in, num_out, stride, rngs)

    def __call__(self, x: Array) -> Array:
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + through(self.downsample, x))


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut around them."""

    def __init__(
        self, num_in: int, middle: int, num_out: int, stride: int, groups: int, rngs: nnx.Rngs
    ):
        self.conv1 = conv(num_in, middle, 1, rngs=rngs)
        self.bn1 = batch_norm(middle, rngs)
        self.conv2 = conv(middle, middle, 3, stride=stride, padding=1, groups=groups, rngs=rngs)
        self.bn2 = batch_norm(middle, rngs)
        self.conv3 = conv(middle, num_out, 1, rngs=rngs)
        self.bn3 = batch_norm(num_out, rngs)
        self.downsample = _projection(num_in, num_out, stride, rngs)

    def __call__(self, x: Array) -> Array:
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu(y + through(self.downsample, x))


class ResNet(nnx.Module):
    """`[N, 224, 224, 3] -> [N, C]`; other heights and widths work, too."""

    def __init__(self, depth: int, config: Config, rngs: nnx.Rngs):
        width = config["width"]
        self.conv1 = conv(3, width, 7, stride=2, padding=3, rngs=rngs)
        self.bn1 = batch_norm(width, rngs)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(depth, config, stage, rngs) for stage in range(4)
        )
        self.fc = nnx.Linear(_channels(depth, width, 3), config["num_classes"], rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = relu(self.bn1(self.conv1(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        x = through([*self.layer1, *self.layer2, *self.layer3, *self.layer4], x)
        return self.fc(x.mean(axis=(1, 2)))


def _stage(depth: int, config: Config, stage: int, rngs: nnx.Rngs) -> nnx.List:
    """Blocks of one stage, 0 to 3; all but the first stage halve height and width."""
    num_out = _channels(depth, config["width"], stage)
    num_in = _channels(depth, config["width"], stage - 1) if stage else config["width"]
    blocks: list[nnx.Module] = []
    for index in range(_BLOCKS[depth][stage]):
        stride = 2 if stage and not index else 1
        if _has_bottlenecks(depth):
            middle, groups = config["middle"] * 2**stage, config["groups"]
            blocks.append(Bottleneck(num_in, middle, num_out, stride, groups, rngs))
        else:
            blocks.append(BasicBlock(num_in, num_out, stride, rngs))
        num_in = num_out
    return nnx.List(blocks)


def _projection(num_in: int, num_out: int, stride: int, rngs: nnx.Rngs) -> nnx.List:
    """The layers on a shortcut; none where the shape stays."""
    if stride == 1 and num_in == num_out:
        return nnx.List([])
    return nnx.List([conv(num_in, num_out, 1, stride=stride, rngs=rngs), batch_norm(num_out, rngs)])


def _channels(depth: int, width: int, stage: int) -> int:
    """Channels behind a stage."""
    return width * 2**stage * (_EXPANSION if _has_bottlenecks(depth) else 1)


def _has_bottlenecks(depth: int) -> bool:
    return depth >= 50


def _build(depth: int, config: Config, rngs: nnx.Rngs) -> ResNet:
    middle, groups = config.get("middle", 1), config.get("groups", 1)
    if middle % groups:
        raise ConversionError(
            f"arguments of resnet{depth}: groups must divide middle, got {groups} and {middle}."
        )
    return ResNet(depth, config, rngs)


def _infer(depth: int, shapes: Shapes) -> Config:
    width = rows_of(shapes, "conv1.weight", 64)
    config = {"width": width, "num_classes": rows_of(shapes, "fc.weight", 1000)}
    if not _has_bottlenecks(depth):
        return config
    middle = rows_of(shapes, "layer1.0.conv1.weight", width)
    per_group = shapes.get("layer1.0.conv2.weight", (middle, middle))[1:2]
    divides = per_group and per_group[0] > 0 and middle % per_group[0] == 0
    return config | {"middle": middle, "groups": middle // per_group[0] if divides else 1}


def _is_likely(depth: int, shapes: Shapes) -> bool:
    """Depths differ in the last blocks of the third and fourth stage, and in the blocks' kind."""
    third, fourth = _BLOCKS[depth][2:]
    present = (f"layer3.{third - 1}.conv2.weight", f"layer4.{fourth - 1}.conv2.weight")
    beyond = (f"layer3.{third}.conv1.weight", f"layer4.{fourth}.conv1.weight")
    kind = "layer1.0.conv3.weight" in shapes
    return (
        all(name in shapes for name in present)
        and not any(name in shapes for name in beyond)
        and kind == _has_bottlenecks(depth)
    )
