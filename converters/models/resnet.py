"""ResNets for 224x224 images: ResNet-18, as trained on ImageNet.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016, arXiv:1512.03385), table 1,
with shortcut option B: a 1x1 convolution where the shape changes. Names and preprocessing are
those of torchvision's checkpoints, but that images are shrunk as a whole, not cropped.
"""

from flax import nnx

from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import batch_norm, conv, relu
from jgaprune.model import Preprocessing
from jgaprune.types import Array

_IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=(224, 224))


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    def __init__(self, num_in: int, num_out: int, stride: int, rngs: nnx.Rngs):
        self.conv1 = conv(num_in, num_out, 3, stride=stride, padding=1, rngs=rngs)
        self.bn1 = batch_norm(num_out, rngs)
        self.conv2 = conv(num_out, num_out, 3, padding=1, rngs=rngs)
        self.bn2 = batch_norm(num_out, rngs)
        self.downsample: nnx.List = nnx.List([])
        if stride != 1 or num_in != num_out:
            projection = conv(num_in, num_out, 1, stride=stride, rngs=rngs)
            self.downsample = nnx.List([projection, batch_norm(num_out, rngs)])

    def __call__(self, x: Array) -> Array:
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        for layer in self.downsample:
            x = layer(x)
        return relu(y + x)


class ResNet18(nnx.Module):
    """`[N, 224, 224, 3] -> [N, C]`; other heights and widths work, too."""

    def __init__(self, num_classes: int, rngs: nnx.Rngs):
        self.conv1 = conv(3, 64, 7, stride=2, padding=3, rngs=rngs)
        self.bn1 = batch_norm(64, rngs)
        self.layer1 = _stage(64, 64, 1, rngs)
        self.layer2 = _stage(64, 128, 2, rngs)
        self.layer3 = _stage(128, 256, 2, rngs)
        self.layer4 = _stage(256, 512, 2, rngs)
        self.fc = nnx.Linear(512, num_classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = relu(self.bn1(self.conv1(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            x = block(x)
        return self.fc(x.mean(axis=(1, 2)))


def _stage(num_in: int, num_out: int, stride: int, rngs: nnx.Rngs) -> nnx.List:
    return nnx.List(
        [BasicBlock(num_in, num_out, stride, rngs), BasicBlock(num_out, num_out, 1, rngs)]
    )


def _build(config: Config, rngs: nnx.Rngs) -> ResNet18:
    return ResNet18(config["num_classes"], rngs)


def _infer(shapes: Shapes) -> Config:
    return {"num_classes": rows_of(shapes, "fc.weight", 1000)}


def _is_likely(shapes: Shapes) -> bool:
    return "layer4.1.conv2.weight" in shapes and "layer4.2.conv1.weight" not in shapes


RESNET18 = Architecture(
    name="resnet18",
    build=_build,
    infer=_infer,
    input_shape=lambda config: (224, 224, 3),
    preprocessing=_IMAGENET,
    is_likely=_is_likely,
)
