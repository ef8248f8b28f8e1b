"""Train the demo's network: a small batch-norm CNN on scikit-learn's handwritten digits.

Question: which sparsities does a one-shot magnitude or LAMP mask without repair survive on it?
Writes `digits_cnn.pth` and `digits_test.npz`, which the demo loads. Masks are scored in plain
torch here, as a reference that owes nothing to jgaprune. LAMP: Lee et al., "Layer-adaptive
Sparsity for the Magnitude-based Pruning" (ICLR 2021, arXiv:2010.07611).
Needs the extra `parity` (torch, scikit-learn); under half a minute on one CPU thread.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

ASSETS = Path(__file__).resolve().parent.parent / "jgaprune" / "assets"
WIDTHS = (32, 32, 64, 64, 64)
NUM_TEST = 540
SPLIT_SEED = 0
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


class Split(NamedTuple):
    """Images uint8 `[N, 8, 8]` and labels int64 `[N]`."""

    images: Tensor
    labels: Tensor


class DigitsCNN(nn.Module):
    """Five 3x3 conv, batch-norm, relu blocks; global average pool; linear."""

    def __init__(self, widths: tuple[int, int, int, int, int] = WIDTHS):
        """Build the layers; `widths` are the output channels of the five convolutions."""
        super().__init__()
        for index, (fan_in, fan_out) in enumerate(zip((1, *widths[:-1]), widths, strict=True), 1):
            self.add_module(f"conv{index}", nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False))
            self.add_module(f"bn{index}", nn.BatchNorm2d(fan_out))
        self.linear = nn.Linear(widths[-1], 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map preprocessed images `[N, 1, 8, 8]` to logits `[N, 10]`."""
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        hidden = functional.relu(self.bn2(self.conv2(hidden)))
        hidden = functional.max_pool2d(hidden, 2)
        hidden = functional.relu(self.bn3(self.conv3(hidden)))
        hidden = functional.relu(self.bn4(self.conv4(hidden)))
        hidden = functional.max_pool2d(hidden, 2)
        hidden = functional.relu(self.bn5(self.conv5(hidden)))
        return self.linear(hidden.mean(dim=(2, 3)))


def load_split() -> tuple[Split, Split]:
    """Training and test split, stratified, the same on every call."""
    digits = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    return split_off(Split(torch.from_numpy(images), torch.from_numpy(digits.target)), NUM_TEST)


def split_off(data: Split, num_held_out: int) -> tuple[Split, Split]:
    """Hold `num_held_out` images out, stratified by label: (rest, held out)."""
    rest, held_out = train_test_split(
        np.arange(len(data.labels)),
        test_size=num_held_out,
        stratify=data.labels.numpy(),
        random_state=SPLIT_SEED,
    )
    return (
        Split(data.images[rest], data.labels[rest]),
        Split(data.images[held_out], data.labels[held_out]),
    )


def pixel_statistics(images: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the pixels in 0..1, rounded to 4 decimals."""
    pixels = images.double() / 255
    return round(pixels.mean().item(), 4), round(pixels.std(correction=0).item(), 4)


def normalise(pixels: Tensor, statistics: tuple[float, float]) -> Tensor:
    """Pixels in 0..1 `[N, 8, 8]` to model inputs `[N, 1, 8, 8]`."""
    mean, std = statistics
    return ((pixels - mean) / std)[:, None]


def augment(pixels: Tensor) -> Tensor:
    """Shift by up to a pixel, scale by up to 10 %, change the brightness by up to 15 %."""
    num_images, _, size = pixels.shape
    uniform = 2 * torch.rand(4, num_images) - 1
    zoom = 1 + 0.1 * uniform[0]
    theta = torch.zeros(num_images, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    # affine_grid's coordinates span 2 over the image, so a pixel is 2 / size.
    theta[:, :, 2] = uniform[1:3].T * 2 / size
    grid = functional.affine_grid(theta, [num_images, 1, size, size], align_corners=False)
    moved = functional.grid_sample(pixels[:, None], grid, align_corners=False)[:, 0]
    return (moved * (1 + 0.15 * uniform[3])[:, None, None]).clamp(0, 1)


def train(model: nn.Module, data: Split, statistics: tuple[float, float], epochs: int) -> None:
    """AdamW, one-cycle cosine schedule, label smoothing; leaves the model in eval mode."""
    batch_size = 64
    pixels = data.images.float() / 255
    num_batches = len(pixels) // batch_size
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=epochs * num_batches, pct_start=0.15
    )
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(pixels))[: num_batches * batch_size]
        for rows in order.view(num_batches, batch_size):
            logits = model(normalise(augment(pixels[rows]), statistics))
            loss = functional.cross_entropy(logits, data.labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, data: Split, statistics: tuple[float, float]) -> float:
    """Fraction of the images classified correctly, 0..1."""
    logits = model(normalise(data.images.float() / 255, statistics))
    return (logits.argmax(dim=1) == data.labels).double().mean().item()


def magnitude(weight: Tensor) -> Tensor:
    """Absolute value, comparable over layers as it is: global magnitude pruning."""
    return weight.abs()


def lamp(weight: Tensor) -> Tensor:
    """Squared weight over the sum of the squares in its layer that are not smaller."""
    squares, order = weight.flatten().double().square().sort()
    not_smaller = squares.flip(0).cumsum(0).flip(0)
    return torch.empty_like(squares).scatter_(0, order, squares / not_smaller).view_as(weight)


@torch.no_grad()
def prune_global(model: nn.Module, score: Callable[[Tensor], Tensor], sparsity: float) -> nn.Module:
    """Copy of the model without its lowest-scoring conv and linear weights; nothing repaired."""
    pruned = copy.deepcopy(model)
    weights = [m.weight for m in pruned.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    scores = torch.cat([score(weight).flatten() for weight in weights])
    mask = torch.ones(len(scores), dtype=torch.bool)
    mask[scores.argsort(stable=True)[: round(sparsity * len(scores))]] = False
    sizes = [weight.numel() for weight in weights]
    for weight, kept in zip(weights, torch.split(mask, sizes), strict=True):
        weight.mul_(kept.view_as(weight))
    return pruned


def measure(model: nn.Module, data: Split, statistics: tuple[float, float]) -> dict[str, object]:
    """Dense accuracy and, per criterion, one accuracy per entry of `SPARSITIES`."""
    pruned = {
        score.__name__: [
            accuracy(prune_global(model, score, sparsity), data, statistics)
            for sparsity in SPARSITIES
        ]
        for score in (magnitude, lamp)
    }
    return {"dense": accuracy(model, data, statistics), "sparsity": SPARSITIES, **pruned}


def save(model: nn.Module, test: Split, directory: Path) -> None:
    """Write the plain state dict and the test split."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), directory / "digits_cnn.pth")
    np.savez_compressed(
        directory / "digits_test.npz",
        images=test.images.numpy(),
        labels=test.labels.numpy().astype(np.int32),
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ASSETS, help="folder for the two files")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--widths", type=int, nargs=5, default=WIDTHS)
    parser.add_argument(
        "--validate",
        action="store_true",
        help="measure on a fifth of the training split instead, and write nothing",
    )
    parser.add_argument("--smoke", action="store_true", help="one epoch, write nothing")
    return parser.parse_args()


def main() -> None:
    """Train, measure, write the assets and print the results as JSON."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    training, held_out = load_split()
    statistics = pixel_statistics(training.images)
    if arguments.validate:
        training, held_out = split_off(training, len(training.labels) // 5)
    model = DigitsCNN(tuple(arguments.widths))
    start = time.perf_counter()
    train(model, training, statistics, epochs=1 if arguments.smoke else arguments.epochs)
    results = {
        "widths": arguments.widths,
        "mean_std": statistics,
        "seed": arguments.seed,
        "train_seconds": round(time.perf_counter() - start, 1),
        "versions": {"torch": torch.__version__, "scikit-learn": sklearn.__version__},
        "measured_on": "validation" if arguments.validate else "test",
        **measure(model, held_out, statistics),
    }
    if not (arguments.validate or arguments.smoke):
        save(model, held_out, arguments.output)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
