"""The demo's network: five convolutions on 8x8 digits, as in `jgaprune/assets/README.md`."""

from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.models.architecture import Architecture, Config, Shapes, rows_of
from jgaprune.converters.models.layers import batch_norm, conv, max_pool, relu
from jgaprune.model import Preprocessing
from jgaprune.types import Array

_WIDTHS = (32, 32, 64, 64, 64)


class DigitsCNN(nnx.Module):
    """`[N, 8, 8, 1] -> [N, C]`."""

    def __init__(self, widths: tuple[int, ...], num_classes: int, rngs: nnx.Rngs):
        one, two, three, four, five = widths
        self.conv1 = conv(1, one, 3, padding=1, rngs=rngs)
        self.bn1 = batch_norm(one, rngs)
        self.conv2 = conv(one, two, 3, padding=1, rngs=rngs)
        self.bn2 = batch_norm(two, rngs)
        self.conv3 = conv(two, three, 3, padding=1, rngs=rngs)
        self.bn3 = batch_norm(three, rngs)
        self.conv4 = conv(three, four, 3, padding=1, rngs=rngs)
        self.bn4 = batch_norm(four, rngs)
        self.conv5 = conv(four, five, 3, padding=1, rngs=rngs)
        self.bn5 = batch_norm(five, rngs)
        self.linear = nnx.Linear(five, num_classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = relu(self.bn1(self.conv1(x)))
        x = max_pool(relu(self.bn2(self.conv2(x))))
        x = relu(self.bn3(self.conv3(x)))
        x = max_pool(relu(self.bn4(self.conv4(x))))
        x = relu(self.bn5(self.conv5(x)))
        return self.linear(x.mean(axis=(1, 2)))


def _build(config: Config, rngs: nnx.Rngs) -> DigitsCNN:
    if len(config["widths"]) != len(_WIDTHS):
        raise ConversionError(
            f"digits_cnn has five convolutions, so widths must be five numbers such as {_WIDTHS}, "
            f"got {config['widths']}."
        )
    return DigitsCNN(config["widths"], config["num_classes"], rngs)


def _infer(shapes: Shapes) -> Config:
    widths = (rows_of(shapes, f"conv{i}.weight", width) for i, width in enumerate(_WIDTHS, 1))
    return {"widths": tuple(widths), "num_classes": rows_of(shapes, "linear.weight", 10)}


DIGITS_CNN = Architecture(
    name="digits_cnn",
    build=_build,
    infer=_infer,
    input_shape=lambda config: (8, 8, 1),
    preprocessing=Preprocessing(mean=(0.3056,), std=(0.376,)),
)
