"""What each architecture of `converters` is in PyTorch. Only imported where torch is asked for."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from jgaprune.bench import torch_networks as networks

_DIGITS = (32, 32, 64, 64, 64)
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
}


class Mlp(nn.Module):
    """A perceptron of any widths, whose layers are in one list."""

    def __init__(
        self,
        *,
        widths: tuple[int, ...],
        bias: bool = True,
        activation: str = "relu",
        input_shape: tuple[int, ...] = (),
    ):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise(widths))
        self.activation = _ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, C]` of inputs `[N, ...]`."""
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def _cifar_resnet(depth: int, *, num_classes: int = 10) -> nn.Module:
    return _with_classes(partial(networks.CifarResNet, depth), num_classes=num_classes)


def _with_classes(build: Callable[[], nn.Module], *, num_classes: int = 10) -> nn.Module:
    """A network whose last layer, of ten classes, is the last that it defines."""
    network = build()
    name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]
    network.set_submodule(name, nn.Linear(last.in_features, num_classes, last.bias is not None))
    return network


def _digits_cnn(*, widths: tuple[int, ...] = _DIGITS, num_classes: int = 10) -> nn.Module:
    if tuple(widths) != _DIGITS:
        raise ValueError(f"PyTorch's digits_cnn is known in widths {_DIGITS} only, got {widths}.")
    return _with_classes(networks.DigitsCNN, num_classes=num_classes)


REFERENCES: dict[str, Callable[..., nn.Module]] = {
    **{f"cifar_resnet{depth}": partial(_cifar_resnet, depth) for depth in (20, 32, 44, 56, 110)},
    "digits_cnn": _digits_cnn,
    "lenet5": partial(_with_classes, networks.LeNet5),
    "mlp": Mlp,
    "paper_cifar10": partial(_with_classes, networks.PaperCifar10),
    "paper_mnist": partial(_with_classes, networks.PaperMnist),
    "resnet18": networks.ResNet18,
}
"""By the architecture's name: `arguments of the architecture -> network with the file's names`."""
