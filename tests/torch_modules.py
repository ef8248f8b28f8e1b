"""Hand-written PyTorch modules for the tests of `from_torch`: one per kind of structure."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Mixed(nn.Module):
    """Residuals, concatenation, grouped and depthwise convolutions, squeeze and excitation."""

    def __init__(self, num_classes: int = 5):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.depthwise = nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=8, bias=False)
        self.bn2 = nn.BatchNorm2d(8, eps=1e-3)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.norm = nn.GroupNorm(4, 16)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(16 * 4, num_classes)

    def forward(self, x):
        x = F.hardswish(self.bn(self.stem(x)))
        x = x + F.relu6(self.grouped(x))
        y = self.bn2(self.depthwise(x))
        share = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        x = torch.cat([F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(y * share, 3, 2, 1)], dim=1)
        x = F.adaptive_avg_pool2d(self.norm(x), (2, 2))
        return self.head(self.dropout(x.flatten(1)))


class Shuffle(nn.Module):
    """Channels split, convolved, joined and shuffled."""

    def __init__(self, num_classes: int = 5):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branch = nn.Sequential(
            nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(True)
        )
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        kept, changed = self.stem(x).chunk(2, dim=1)
        x = torch.cat([kept, self.branch(changed)], dim=1)
        num, channels, height, width = x.shape
        x = x.view(num, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return self.head(x.view(num, channels, height, width).mean([2, 3]))


class Windows(nn.Module):
    """Shifted windows with a relative position bias and a mask, as in Swin."""

    def __init__(self, size: int = 8, window: int = 4, dim: int = 12, num_classes: int = 5):
        super().__init__()
        self.window, self.size = window, size
        self.embed = nn.Conv2d(3, dim, 2, stride=2)
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, 2))
        place = torch.stack(torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij")).flatten(1)
        apart = (place[:, :, None] - place[:, None, :] + window - 1).permute(1, 2, 0)
        self.register_buffer("place", apart[..., 0] * (2 * window - 1) + apart[..., 1])
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x):
        x = self.norm(self.embed(x).permute(0, 2, 3, 1))
        num, size, _, dim = x.shape
        x = torch.roll(x, (-1, -1), (1, 2))
        per_side, area = size // self.window, self.window**2
        x = x.view(num, per_side, self.window, per_side, self.window, dim).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(-1, area, dim)
        q, k, v = self.qkv(x).reshape(-1, area, 3, 2, dim // 2).permute(2, 0, 3, 1, 4)
        mask = x.new_zeros((area, area))
        mask[: area // 2, area // 2 :] = -100.0
        bias = self.bias[self.place.view(-1)].view(area, area, 2).permute(2, 0, 1)
        x = (F.softmax(q @ k.transpose(-2, -1) + bias + mask, dim=-1) @ v).transpose(1, 2)
        x = x.reshape(num, per_side, per_side, self.window, self.window, dim)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(num, size, size, dim)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 1::2]], dim=1)
        return self.head(torch.roll(x, (1, 1), (1, 2)).mean((1, 2)))


class Attention(nn.Module):
    """Both of torch's attentions, over patches with a class token."""

    def __init__(self, dim: int = 16, num_classes: int = 5):
        super().__init__()
        self.patches = nn.Conv2d(3, dim, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 4, dropout=0.3, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(
            dim, 2, 32, activation="gelu", batch_first=True, norm_first=True
        )
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        y = self.norm(x)
        x = self.encoder(x + self.attention(y, y, y)[0])
        parts = [one.unflatten(-1, (4, -1)).transpose(1, 2) for one in self.qkv(x).chunk(3, -1)]
        x = x + F.scaled_dot_product_attention(*parts, is_causal=True).transpose(1, 2).flatten(2)
        return self.head(x[:, 0])


class Reader(nn.Module):
    """A causal language model whose head is tied to its embedding."""

    def __init__(self, vocabulary: int = 11, dim: int = 8):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.mix = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        scores = (x @ x.transpose(1, 2)).masked_fill(~seen, float("-inf"))
        return self.head(x + torch.tanh(self.mix(scores.softmax(-1) @ x)))


class Upward(nn.Module):
    """Transposed convolutions, interpolation, pixel shuffle and reflection, from a small image."""

    def __init__(self, num_classes: int = 5):
        super().__init__()
        self.wide = nn.ConvTranspose2d(3, 8, 3, stride=2, padding=1, output_padding=1, groups=1)
        self.grouped = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1, groups=2, bias=False)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.head = nn.Linear(10, num_classes)

    def forward(self, x):
        x = self.instance(self.grouped(F.elu(self.wide(x))))
        small = F.avg_pool2d(F.pad(x, (1, 2, 1, 2), mode="reflect"), 3, 2, ceil_mode=True)
        near = F.interpolate(small, scale_factor=2.0, mode="nearest")
        smooth = F.interpolate(small, size=(9, 7), mode="bilinear", align_corners=False)
        parts = [F.pixel_shuffle(near, 2), smooth]
        return self.head(torch.cat([part.amax((2, 3)) for part in parts], dim=1))


MODULES = {
    "attention": (Attention, (3, 16, 16)),
    "mixed": (Mixed, (3, 18, 22)),
    "shuffle": (Shuffle, (3, 8, 8)),
    "upward": (Upward, (3, 6, 6)),
    "windows": (Windows, (3, 16, 16)),
}
"""Modules for images by name, with the shape of an input."""


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with random parameters and statistics, so that nothing is one or zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module
