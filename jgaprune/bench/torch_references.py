"""What each architecture of `converters` is in PyTorch, and on what the two are compared.

One table says who builds an architecture from its arguments, another lists comparisons. Only
imported where torch is asked for.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from jgaprune.bench import torch_cnns as cnns
from jgaprune.bench import torch_networks as small

REFERENCES: dict[str, Callable[..., nn.Module]] = {
    **{f"cifar_resnet{d}": partial(small.CifarResNet, d) for d in (20, 32, 44, 56, 110)},
    **{f"cifar_vgg{depth}_bn": partial(cnns.Vgg, depth, 1) for depth in cnns.CONVOLUTIONS},
    "digits_cnn": small.DigitsCNN,
    "lenet5": small.LeNet5,
    "mlp": small.mlp,
    "mobilenet_v2": cnns.MobileNetV2,
    "paper_cifar10": small.PaperCifar10,
    "paper_mnist": small.PaperMnist,
    **{f"resnet{depth}": partial(cnns.ResNet, depth) for depth in cnns.BLOCKS},
    "squeezenet1_1": cnns.SqueezeNet,
    **{f"vgg{depth}_bn": partial(cnns.Vgg, depth, 7) for depth in cnns.CONVOLUTIONS},
}
"""By the architecture's name: `arguments of the architecture -> network with the file's names`."""


class Case(NamedTuple):
    """One comparison.

    Attributes:
      arch: architecture name.
      input_shape: one input's shape in PyTorch.
      config: arguments of the architecture, where they are not its defaults.
      is_small: whether rounding has few layers to grow in.
    """

    arch: str
    input_shape: tuple[int, ...]
    config: dict[str, Any] = {}
    is_small: bool = False

    def build(self) -> nn.Module:
        """The network in PyTorch."""
        return REFERENCES[self.arch](**self.config)


def _narrow(depth: int, width: int = 8) -> tuple[int, ...]:
    """Widths of a narrow VGG; channels never fall, as in the wide one."""
    counts = cnns.CONVOLUTIONS[depth]
    return tuple(width + 4 * stage for stage, count in enumerate(counts) for _ in range(count))


_BOTTLENECKS = {"width": 8, "middle": 8, "groups": 1, "num_classes": 7}
_SQUEEZENET = {
    "stem": 16,
    "squeezed": (8, 8, 8, 8, 12, 12, 12, 12),
    "expanded": (12, 12, 16, 16, 20, 20, 24, 24),
    "num_classes": 7,
}
CASES = {
    **{
        f"cifar_resnet{depth}": Case(f"cifar_resnet{depth}", (3, 32, 32))
        for depth in (20, 32, 44, 56, 110)
    },
    "cifar_resnet20_on_oblong_images": Case("cifar_resnet20", (3, 24, 37), {"num_classes": 7}),
    "lenet5": Case("lenet5", (1, 32, 32), is_small=True),
    "paper_mnist": Case("paper_mnist", (1, 28, 28), is_small=True),
    "paper_cifar10": Case("paper_cifar10", (3, 32, 32), is_small=True),
    "digits_cnn": Case("digits_cnn", (1, 8, 8), is_small=True),
    "digits_cnn_on_oblong_images": Case("digits_cnn", (1, 9, 14), is_small=True),
    "resnet18": Case("resnet18", (3, 224, 224)),
    "resnet18_on_oblong_images": Case("resnet18", (3, 64, 97), {"num_classes": 10}),
    "resnet34": Case("resnet34", (3, 48, 65), {"width": 8, "num_classes": 7}),
    **{f"resnet{depth}": Case(f"resnet{depth}", (3, 48, 65), _BOTTLENECKS) for depth in (50, 101)},
    "resnet152": Case("resnet152", (3, 48, 65), _BOTTLENECKS),
    "resnet50_in_groups": Case("resnet50", (3, 48, 65), _BOTTLENECKS | {"middle": 16, "groups": 4}),
    "mobilenet_v2": Case(
        "mobilenet_v2", (3, 48, 65), {"widths": (8, 8, 8, 8, 16, 16, 24, 32, 40), "num_classes": 7}
    ),
    "squeezenet1_1": Case("squeezenet1_1", (3, 48, 67), _SQUEEZENET),
    "vgg11_bn": Case(
        "vgg11_bn",
        (3, 257, 290),
        {"widths": _narrow(11), "hidden": (24, 24), "num_classes": 7},
    ),
    "vgg16_bn": Case(
        "vgg16_bn",
        (3, 67, 101),
        {"widths": _narrow(16), "hidden": (24, 24), "num_classes": 7},
    ),
    "cifar_vgg11_bn": Case(
        "cifar_vgg11_bn", (3, 32, 48), {"widths": _narrow(11), "hidden": (), "num_classes": 7}
    ),
    "cifar_vgg16_bn": Case(
        "cifar_vgg16_bn", (3, 32, 32), {"widths": _narrow(16), "hidden": (24, 24), "num_classes": 7}
    ),
    "mlp": Case("mlp", (784,), {"widths": (784, 256, 256, 256, 10)}, is_small=True),
    "mlp_without_bias": Case("mlp", (20,), {"widths": (20, 8, 8, 4), "bias": False}, True),
    "mlp_gelu": Case("mlp", (20,), {"widths": (20, 16, 16, 4), "activation": "gelu"}, True),
    "mlp_tanh": Case("mlp", (20,), {"widths": (20, 16, 4), "activation": "tanh"}, True),
    "mlp_on_colour_images": Case(
        "mlp", (3, 8, 8), {"widths": (192, 24, 24, 10), "input_shape": (8, 8, 3)}, True
    ),
}
