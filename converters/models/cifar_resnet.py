"""ResNets for 32x32 images with 6n+2 layers: 20, 32, 44, 56, 110.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016, arXiv:1512.03385),
section 4.2, with shortcut option A, which has no weights. Names and preprocessing are those
of the checkpoints of akamaster/pytorch_resnet_cifar10.
"""

from functools import partial

import jax.numpy as jnp
from flax import nnx

from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import batch_norm, conv, relu
from jgaprune.converters.models.pixels import IMAGENET
from jgaprune.types import Array


def cifar_resnet(depth: int) -> Architecture:
    """The ResNet with `depth` layers; its option `num_classes` is read off the file."""
    return Architecture(
        name=f"cifar_resnet{depth}",
        build=partial(_build, depth),
        infer=_infer,
        input_shape=lambda config: (32, 32, 3),
        preprocessing=IMAGENET,
        is_likely=partial(_is_likely, depth),
    )


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    def __init__(self, num_in: int, num_out: int, stride: int, rngs: nnx.Rngs):
        self.conv1 = conv(num_in, num_out, 3, stride=stride, padding=1, rngs=rngs)
        self.bn1 = batch_norm(num_out, rngs)
        self.conv2 = conv(num_out, num_out, 3, padding=1, rngs=rngs)
        self.bn2 = batch_norm(num_out, rngs)
        self.stride = stride
        self.added_channels = num_out - num_in

    def __call__(self, x: Array) -> Array:
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + self.shortcut(x))

    def shortcut(self, x: Array) -> Array:
        """Every `stride`-th pixel, with zero channels added equally on both sides."""
        pad = self.added_channels // 2
        return jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (pad, pad)))


class CifarResNet(nnx.Module):
    """`[N, 32, 32, 3] -> [N, C]`."""

    def __init__(self, depth: int, num_classes: int, rngs: nnx.Rngs):
        num_blocks = _num_blocks(depth)
        self.conv1 = conv(3, 16, 3, padding=1, rngs=rngs)
        self.bn1 = batch_norm(16, rngs)
        self.layer1 = _stage(num_blocks, 16, 16, 1, rngs)
        self.layer2 = _stage(num_blocks, 16, 32, 2, rngs)
        self.layer3 = _stage(num_blocks, 32, 64, 2, rngs)
        self.linear = nnx.Linear(64, num_classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = relu(self.bn1(self.conv1(x)))
        for block in (*self.layer1, *self.layer2, *self.layer3):
            x = block(x)
        return self.linear(x.mean(axis=(1, 2)))


def _stage(num_blocks: int, num_in: int, num_out: int, stride: int, rngs: nnx.Rngs) -> nnx.List:
    first = BasicBlock(num_in, num_out, stride, rngs)
    return nnx.List(
        [first, *(BasicBlock(num_out, num_out, 1, rngs) for _ in range(num_blocks - 1))]
    )


def _build(depth: int, config: Config, rngs: nnx.Rngs) -> CifarResNet:
    return CifarResNet(depth, config["num_classes"], rngs)


def _infer(shapes: Shapes) -> Config:
    return {"num_classes": rows_of(shapes, "linear.weight", 10)}


def _is_likely(depth: int, shapes: Shapes) -> bool:
    last, beyond = (f"layer3.{_num_blocks(depth) - extra}.conv1.weight" for extra in (1, 0))
    return last in shapes and beyond not in shapes


def _num_blocks(depth: int) -> int:
    """Blocks per stage: each has two layers, and one layer comes before and one after."""
    return (depth - 2) // 6
