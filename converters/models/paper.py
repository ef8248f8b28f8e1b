"""The two networks of the paper that this project grew out of; none of their layers has a bias.

Repository sun-asterisk-research/ga_pruning_research.
"""

from flax import nnx

from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import conv, flatten, max_pool, relu
from jgaprune.model import Preprocessing
from jgaprune.types import Array


class PaperMnist(nnx.Module):
    """`[N, 28, 28, 1] -> [N, C]`; no relu between `conv2` and the pool."""

    def __init__(self, num_classes: int, rngs: nnx.Rngs):
        self.conv1 = conv(1, 32, 3, rngs=rngs)
        self.conv2 = conv(32, 64, 3, rngs=rngs)
        self.fc1 = nnx.Linear(9216, 128, use_bias=False, rngs=rngs)
        self.fc2 = nnx.Linear(128, num_classes, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = max_pool(self.conv2(relu(self.conv1(x))))
        return self.fc2(relu(self.fc1(flatten(x))))


class PaperCifar10(nnx.Module):
    """`[N, 32, 32, 3] -> [N, C]`."""

    def __init__(self, num_classes: int, rngs: nnx.Rngs):
        self.conv1 = conv(3, 64, 3, rngs=rngs)
        self.conv2 = conv(64, 128, 3, rngs=rngs)
        self.conv3 = conv(128, 256, 3, rngs=rngs)
        self.conv4 = conv(256, 512, 3, rngs=rngs)
        self.fc1 = nnx.Linear(12800, 512, use_bias=False, rngs=rngs)
        self.fc2 = nnx.Linear(512, 128, use_bias=False, rngs=rngs)
        self.fc3 = nnx.Linear(128, num_classes, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = max_pool(relu(self.conv2(relu(self.conv1(x)))))
        x = max_pool(relu(self.conv4(relu(self.conv3(x)))))
        return self.fc3(relu(self.fc2(relu(self.fc1(flatten(x))))))


def _build_mnist(config: Config, rngs: nnx.Rngs) -> PaperMnist:
    return PaperMnist(config["num_classes"], rngs)


def _build_cifar10(config: Config, rngs: nnx.Rngs) -> PaperCifar10:
    return PaperCifar10(config["num_classes"], rngs)


def _infer_mnist(shapes: Shapes) -> Config:
    return {"num_classes": rows_of(shapes, "fc2.weight", 10)}


def _infer_cifar10(shapes: Shapes) -> Config:
    return {"num_classes": rows_of(shapes, "fc3.weight", 10)}


PAPER_MNIST = Architecture(
    name="paper_mnist",
    build=_build_mnist,
    infer=_infer_mnist,
    input_shape=lambda config: (28, 28, 1),
    preprocessing=Preprocessing(mean=(0.1307,), std=(0.3081,)),
    flattened=lambda config: {"fc1": (64, 12, 12)},
)
PAPER_CIFAR10 = Architecture(
    name="paper_cifar10",
    build=_build_cifar10,
    infer=_infer_cifar10,
    input_shape=lambda config: (32, 32, 3),
    preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    flattened=lambda config: {"fc1": (512, 5, 5)},
)
