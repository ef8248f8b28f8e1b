"""The small networks of `converters` in PyTorch, written from their descriptions.

What speed and results are compared with. Only imported where torch is asked for.
"""

from itertools import pairwise

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
    def __init__(self, depth: int, *, num_classes: int = 10):
        super().__init__()
        num_blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, num_blocks)
        self.layer2 = self._stage(16, 32, 2, num_blocks)
        self.layer3 = self._stage(32, 64, 2, num_blocks)
        self.linear = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(num_in: int, num_out: int, stride: int, num_blocks: int) -> nn.Sequential:
        rest = (BasicBlock(num_out, num_out, 1) for _ in range(num_blocks - 1))
        return nn.Sequential(BasicBlock(num_in, num_out, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


class LeNet5(nn.Module):
    def __init__(self, *, num_classes: int = 10) -> None:
        super().__init__()
        self.convnet = nn.ModuleDict(
            {"c1": nn.Conv2d(1, 6, 5), "c3": nn.Conv2d(6, 16, 5), "c5": nn.Conv2d(16, 120, 5)}
        )
        self.fc = nn.ModuleDict({"f6": nn.Linear(120, 84), "f7": nn.Linear(84, num_classes)})

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.convnet["c1"](x)), 2)
        x = F.max_pool2d(F.relu(self.convnet["c3"](x)), 2)
        x = F.relu(self.convnet["c5"](x)).flatten(1)
        return self.fc["f7"](F.relu(self.fc["f6"](x)))


class PaperMnist(nn.Module):
    def __init__(self, *, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, bias=False)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.fc1 = nn.Linear(9216, 128, bias=False)
        self.fc2 = nn.Linear(128, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv2(F.relu(self.conv1(x))), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class PaperCifar10(nn.Module):
    def __init__(self, *, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, bias=False)
        self.conv2 = nn.Conv2d(64, 128, 3, bias=False)
        self.conv3 = nn.Conv2d(128, 256, 3, bias=False)
        self.conv4 = nn.Conv2d(256, 512, 3, bias=False)
        self.fc1 = nn.Linear(12800, 512, bias=False)
        self.fc2 = nn.Linear(512, 128, bias=False)
        self.fc3 = nn.Linear(128, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.max_pool2d(F.relu(self.conv4(F.relu(self.conv3(x)))), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class DigitsCNN(nn.Module):
    def __init__(
        self, *, widths: tuple[int, ...] = (32, 32, 64, 64, 64), num_classes: int = 10
    ) -> None:
        super().__init__()
        widths = (1, *widths)
        for index in range(1, 6):
            convolution = nn.Conv2d(widths[index - 1], widths[index], 3, padding=1, bias=False)
            self.add_module(f"conv{index}", convolution)
            self.add_module(f"bn{index}", nn.BatchNorm2d(widths[index]))
        self.linear = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, 6):
            x = F.relu(getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(x)))
            if index in (2, 4):
                x = F.max_pool2d(x, 2)
        return self.linear(x.mean(dim=(2, 3)))


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def mlp(
    *,
    widths: tuple[int, ...] = (784, 300, 100, 10),
    bias: bool = True,
    activation: str = "relu",
    input_shape: tuple[int, ...] = (),
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for num_in, num_out in pairwise(widths):
        layers += [nn.Linear(num_in, num_out, bias=bias), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
