"""LeNet-5 with ReLU and max pooling, for MNIST enlarged to 32x32.

LeCun et al., "Gradient-based learning applied to document recognition" (1998). Names and
preprocessing are those of the checkpoint of khushbujpatel/lenet_mnist.
"""

from flax import nnx

from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import conv, flatten, max_pool, relu
from jgaprune.model import Preprocessing
from jgaprune.types import Array


class LeNet5(nnx.Module):
    """`[N, 32, 32, 1] -> [N, C]`."""

    def __init__(self, num_classes: int, rngs: nnx.Rngs):
        self.convnet = Convolutions(rngs)
        self.fc = Classifier(num_classes, rngs)

    def __call__(self, x: Array) -> Array:
        return self.fc(flatten(self.convnet(x)))


class Convolutions(nnx.Module):
    """`[N, 32, 32, 1] -> [N, 1, 1, 120]`."""

    def __init__(self, rngs: nnx.Rngs):
        self.c1 = conv(1, 6, 5, bias=True, rngs=rngs)
        self.c3 = conv(6, 16, 5, bias=True, rngs=rngs)
        self.c5 = conv(16, 120, 5, bias=True, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = max_pool(relu(self.c1(x)))
        x = max_pool(relu(self.c3(x)))
        return relu(self.c5(x))


class Classifier(nnx.Module):
    """`[N, 120] -> [N, C]`."""

    def __init__(self, num_classes: int, rngs: nnx.Rngs):
        self.f6 = nnx.Linear(120, 84, rngs=rngs)
        self.f7 = nnx.Linear(84, num_classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.f7(relu(self.f6(x)))


def _build(config: Config, rngs: nnx.Rngs) -> LeNet5:
    return LeNet5(config["num_classes"], rngs)


def _infer(shapes: Shapes) -> Config:
    return {"num_classes": rows_of(shapes, "fc.f7.weight", 10)}


LENET5 = Architecture(
    name="lenet5",
    build=_build,
    infer=_infer,
    input_shape=lambda config: (32, 32, 1),
    preprocessing=Preprocessing(mean=(0.1307,), std=(0.3081,), resize=(32, 32)),
)
