"""Convolutional networks of ImageNet in PyTorch, written from their descriptions.

Names of layers are torchvision's. What results are compared with. Only imported where torch is
asked for.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
BLOCKS[152] = (3, 8, 36, 3)


class Residual(nn.Module):
    """Convolutions `(in, out, size, stride, groups)` with norms, and a shortcut around them."""

    def __init__(self, *convolutions: tuple[int, int, int, int, int]):
        super().__init__()
        self.num_convolutions = len(convolutions)
        for index, (num_in, num_out, size, stride, groups) in enumerate(convolutions, 1):
            convolution = nn.Conv2d(
                num_in, num_out, size, stride, padding=size // 2, groups=groups, bias=False
            )
            self.add_module(f"conv{index}", convolution)
            self.add_module(f"bn{index}", nn.BatchNorm2d(num_out))
        first, stride = convolutions[0][0], max(one[3] for one in convolutions)
        self.downsample = None
        if stride > 1 or first != num_out:
            projection = nn.Conv2d(first, num_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(num_out))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for index in range(1, self.num_convolutions + 1):
            y = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(y))
            y = torch.relu(y) if index < self.num_convolutions else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(
        self,
        depth: int,
        *,
        width: int = 64,
        middle: int = 0,
        groups: int = 1,
        num_classes: int = 1000,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        num_in, stages = width, []
        for stage, num_blocks in enumerate(BLOCKS[depth]):
            blocks = []
            for index in range(num_blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                inner, num_out = (middle or width) * 2**stage, width * 2**stage
                if depth < 50:
                    shapes = [(num_in, num_out, 3, stride, 1), (num_out, num_out, 3, 1, 1)]
                else:
                    num_out *= 4
                    shapes = [(num_in, inner, 1, 1, 1), (inner, inner, 3, stride, groups)]
                    shapes.append((inner, num_out, 1, 1, 1))
                blocks.append(Residual(*shapes))
                num_in = num_out
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(num_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class Vgg(nn.Module):
    """With 7x7 pixels before the dense layers as on ImageNet, or one as on CIFAR."""

    def __init__(
        self,
        depth: int,
        pooled: int,
        *,
        widths: tuple[int, ...],
        hidden: tuple[int, ...],
        num_classes: int,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        channels = pairwise((3, *widths))
        for num_convolutions in CONVOLUTIONS[depth]:
            for _ in range(num_convolutions):
                num_in, num_out = next(channels)
                convolution = nn.Conv2d(num_in, num_out, 3, padding=1)
                layers += [convolution, nn.BatchNorm2d(num_out), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        sizes = (widths[-1] * pooled**2, *hidden)
        dense: list[nn.Module] = []
        for num_in, num_out in pairwise(sizes):
            dense += [nn.Linear(num_in, num_out), nn.ReLU(), nn.Dropout()]
        last = nn.Linear(sizes[-1], num_classes)
        self.classifier = nn.Sequential(*dense, last) if hidden else last

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class InvertedResidual(nn.Module):
    def __init__(self, num_in: int, num_out: int, stride: int, expansion: int):
        super().__init__()
        hidden = expansion * num_in
        layers = [] if expansion == 1 else [conv_norm_relu6(num_in, hidden, 1)]
        layers.append(conv_norm_relu6(hidden, hidden, 3, stride, hidden))
        shrink = nn.Conv2d(hidden, num_out, 1, bias=False)
        self.conv = nn.Sequential(*layers, shrink, nn.BatchNorm2d(num_out))
        self.shortcut = stride == 1 and num_in == num_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


def conv_norm_relu6(
    num_in: int, num_out: int, size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(num_in, num_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(num_out), nn.ReLU6())


class MobileNetV2(nn.Module):
    STAGES = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))
    """Expansion, blocks and stride."""

    def __init__(self, *, widths: tuple[int, ...], num_classes: int):
        super().__init__()
        layers: list[nn.Module] = [conv_norm_relu6(3, widths[0], 3, 2)]
        num_in = widths[0]
        for (expansion, blocks, stride), num_out in zip(self.STAGES, widths[1:-1], strict=True):
            for index in range(blocks):
                step = stride if index == 0 else 1
                layers.append(InvertedResidual(num_in, num_out, step, expansion))
                num_in = num_out
        layers.append(conv_norm_relu6(num_in, widths[-1], 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(widths[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean(dim=(2, 3)))


class Fire(nn.Module):
    def __init__(self, num_in: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = nn.Conv2d(num_in, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1))


class SqueezeNet(nn.Module):
    def __init__(
        self, *, stem: int, squeezed: tuple[int, ...], expanded: tuple[int, ...], num_classes: int
    ):
        super().__init__()
        num_ins = (stem, *(2 * size for size in expanded))
        fires = [Fire(*sizes) for sizes in zip(num_ins[:-1], squeezed, expanded, strict=True)]
        pools = [nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3)]
        self.features = nn.Sequential(
            *(nn.Conv2d(3, stem, 3, stride=2), nn.ReLU(), pools[0], *fires[:2]),
            *(pools[1], *fires[2:4], pools[2], *fires[4:]),
        )
        head = nn.Conv2d(num_ins[-1], num_classes, 1)
        pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(), head, nn.ReLU(), pool)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)
