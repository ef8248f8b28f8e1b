"""The networks of `converters` in PyTorch, written from their descriptions.

What speed and results are compared with. Only imported where torch is asked for.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class BasicBlock(nn.Module):
    def __init__(self, num_in: int, num_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out)
        self.stride = stride
        self.pad = (num_out - num_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        skip = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(skip, (0, 0, 0, 0, self.pad, self.pad)))


class CifarResNet(nn.Module):
    def __init__(self, depth: int):
        super().__init__()
        num_blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, num_blocks)
        self.layer2 = self._stage(16, 32, 2, num_blocks)
        self.layer3 = self._stage(32, 64, 2, num_blocks)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(num_in: int, num_out: int, stride: int, num_blocks: int) -> nn.Sequential:
        rest = (BasicBlock(num_out, num_out, 1) for _ in range(num_blocks - 1))
        return nn.Sequential(BasicBlock(num_in, num_out, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


class ProjectedBlock(nn.Module):
    def __init__(self, num_in: int, num_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out)
        self.downsample = nn.Sequential()
        if stride != 1:
            projection = nn.Conv2d(num_in, num_out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(num_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    def __init__(self, num_classes: int = 1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        for index, (num_in, num_out, stride) in enumerate(widths, 1):
            blocks = ProjectedBlock(num_in, num_out, stride), ProjectedBlock(num_out, num_out, 1)
            self.add_module(f"layer{index}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convnet = nn.ModuleDict(
            {"c1": nn.Conv2d(1, 6, 5), "c3": nn.Conv2d(6, 16, 5), "c5": nn.Conv2d(16, 120, 5)}
        )
        self.fc = nn.ModuleDict({"f6": nn.Linear(120, 84), "f7": nn.Linear(84, 10)})

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.convnet["c1"](x)), 2)
        x = F.max_pool2d(F.relu(self.convnet["c3"](x)), 2)
        x = F.relu(self.convnet["c5"](x)).flatten(1)
        return self.fc["f7"](F.relu(self.fc["f6"](x)))


class PaperMnist(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, bias=False)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.fc1 = nn.Linear(9216, 128, bias=False)
        self.fc2 = nn.Linear(128, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv2(F.relu(self.conv1(x))), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class PaperCifar10(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for index, (num_in, num_out) in enumerate(((3, 64), (64, 128), (128, 256), (256, 512)), 1):
            self.add_module(f"conv{index}", nn.Conv2d(num_in, num_out, 3, bias=False))
        self.fc1 = nn.Linear(12800, 512, bias=False)
        self.fc2 = nn.Linear(512, 128, bias=False)
        self.fc3 = nn.Linear(128, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.max_pool2d(F.relu(self.conv4(F.relu(self.conv3(x)))), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class DigitsCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 32, 64, 64, 64)
        for index in range(1, 6):
            convolution = nn.Conv2d(widths[index - 1], widths[index], 3, padding=1, bias=False)
            self.add_module(f"conv{index}", convolution)
            self.add_module(f"bn{index}", nn.BatchNorm2d(widths[index]))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, 6):
            x = F.relu(getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(x)))
            if index in (2, 4):
                x = F.max_pool2d(x, 2)
        return self.linear(x.mean(dim=(2, 3)))


def mlp(widths: tuple[int, ...], bias: bool, activation: Callable[[], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for num_in, num_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(num_in, num_out, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


class Case(NamedTuple):
    """One comparison.

    Attributes:
      arch: architecture name.
      build: the PyTorch network.
      input_shape: one input's shape in PyTorch.
      config: arguments of `load`.
    """

    arch: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    config: dict[str, object]


RESNETS = {
    f"cifar_resnet{depth}": Case(
        f"cifar_resnet{depth}", partial(CifarResNet, depth), (3, 32, 32), {}
    )
    for depth in (20, 32, 44, 56, 110)
}
MLPS = {
    "mlp": Case("mlp", partial(mlp, (784, 256, 256, 256, 10), True, nn.ReLU), (784,), {}),
    "mlp_without_bias": Case("mlp", partial(mlp, (20, 8, 8, 4), False, nn.ReLU), (20,), {}),
    "mlp_gelu": Case(
        "mlp", partial(mlp, (20, 16, 16, 4), True, nn.GELU), (20,), {"activation": "gelu"}
    ),
    "mlp_tanh": Case(
        "mlp", partial(mlp, (20, 16, 4), True, nn.Tanh), (20,), {"activation": "tanh"}
    ),
    "mlp_on_colour_images": Case(
        "mlp",
        partial(mlp, (192, 24, 24, 10), True, nn.ReLU),
        (3, 8, 8),
        {"input_shape": (8, 8, 3)},
    ),
}
CASES = {
    **RESNETS,
    "lenet5": Case("lenet5", LeNet5, (1, 32, 32), {}),
    "paper_mnist": Case("paper_mnist", PaperMnist, (1, 28, 28), {}),
    "paper_cifar10": Case("paper_cifar10", PaperCifar10, (3, 32, 32), {}),
    "digits_cnn": Case("digits_cnn", DigitsCNN, (1, 8, 8), {}),
    "resnet18": Case("resnet18", ResNet18, (3, 224, 224), {}),
    "resnet18_on_oblong_images": Case("resnet18", partial(ResNet18, 10), (3, 64, 97), {}),
    **MLPS,
}


@torch.no_grad()
def logits_of(network: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Reference logits, computed in float64 so that only our own rounding is compared."""
    return network.double().eval()(torch.from_numpy(inputs).double()).numpy()
