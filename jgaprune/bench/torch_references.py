"""PyTorch's side of `verify`: which network an architecture is there.

Only imported where torch is asked for.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from jgaprune.bench import torch_networks as networks

Config = Mapping[str, Any]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
}


class Mlp(nn.Module):
    """A perceptron of any widths, whose layers are in one list."""

    def __init__(self, config: Config):
        super().__init__()
        pairs = pairwise(config["widths"])
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=config["bias"]) for a, b in pairs)
        self.activation = _ACTIVATIONS[config["activation"]]

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, C]` of inputs `[N, ...]`."""
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def _cifar_resnet(depth: int, config: Config) -> nn.Module:
    network = networks.CifarResNet(depth)
    network.linear = nn.Linear(64, config["num_classes"])
    return network


REFERENCES: dict[str, Callable[[Config], nn.Module]] = {
    **{f"cifar_resnet{depth}": partial(_cifar_resnet, depth) for depth in (20, 32, 44, 56, 110)},
    "digits_cnn": lambda config: networks.DigitsCNN(),
    "lenet5": lambda config: networks.LeNet5(),
    "mlp": Mlp,
    "paper_cifar10": lambda config: networks.PaperCifar10(),
    "paper_mnist": lambda config: networks.PaperMnist(),
    "resnet18": lambda config: networks.ResNet18(config["num_classes"]),
}
"""By architecture, what makes its network from the arguments; names are those of `leaves`."""
