"""The paper's experiment on MNIST, through the engine.

Question: do the paper's five strategies behave on its MNIST network as its logs say? With half
of the weights kept, the logged random masks of generation 0 have a mean accuracy of 0.798 and a
best one of 0.957, the mean rises from there, and 18.5 masks per second see 10 000 images on an
RTX 2080 Ti (sun-asterisk-research/ga_pruning_research). As in the paper, and nowhere else in this
project, the fitness is the error on labelled test images, and the same images are reported.

The weights come from `train_paper_mnist.py`. `--smoke` needs no files and proves no numbers.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax.numpy as jnp
import numpy as np
from documents import RESULTS, document, write
from paper_runs import dense_accuracy, run_strategy
from safetensors.numpy import save_file

from jgaprune.converters import load
from jgaprune.evolvers import MNIST_SCHEDULE, Schedule
from jgaprune.inputs.files import read_evaluation_data
from jgaprune.objectives import accuracy
from jgaprune.spaces import scores

SPARSITY = 0.5
SEED = 1507
SMOKE_SCHEDULE = Schedule(((0.0, 4, 0.15), (0.8, 6, 0.1)))
LOGGED = {"mean_of_generation_0": 0.798, "best_of_generation_0": 0.957, "masks_per_second": 18.5}


def smoke_files(folder: Path) -> tuple[Path, Path]:
    """Random weights and images, so that CI can run everything without files."""
    draw = np.random.default_rng(0)
    shapes = {"conv1": (32, 1, 3, 3), "conv2": (64, 32, 3, 3), "fc1": (128, 9216), "fc2": (10, 128)}
    weights = {
        f"{name}.weight": draw.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "weights.safetensors")
    images = draw.integers(0, 256, (8, 28, 28), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(8, dtype=np.int32))
    return folder / "weights.safetensors", folder / "images.npz"


def measure(weights: Path, images: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that goes into the JSON."""
    model = load("paper_mnist", weights)
    sha256 = model.spec.source.sha256 if model.spec.source else None
    inputs, labels = (
        jnp.asarray(array[: options.images]) for array in read_evaluation_data(images, model.spec)
    )
    space = scores(model, SPARSITY)
    objective = accuracy(model, labels, inputs=inputs)
    schedule = SMOKE_SCHEDULE if options.smoke else MNIST_SCHEDULE
    return document(
        "Do the paper's strategies behave on its MNIST network as its logs say?",
        weights_sha256=sha256,
        sparsity=SPARSITY,
        seed=SEED,
        images=len(labels),
        dense=dense_accuracy(model, inputs, labels),
        logged_by_the_paper=LOGGED,
        strategies=[
            run_strategy(space, objective, strategy, schedule, options.generations, seed=SEED)
            for strategy in options.strategies
        ],
    )


def main() -> None:
    """Run the strategies one after another and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, nargs="?", help=".safetensors, .pth or .npz")
    parser.add_argument("test", type=Path, nargs="?", help=".npz with images and labels")
    parser.add_argument("--strategies", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--generations", type=int, default=5, help="after the random one")
    parser.add_argument("--images", type=int, default=512, help="the first ones of the test file")
    parser.add_argument("--output", type=Path, default=RESULTS / "paper_mnist.json")
    parser.add_argument("--smoke", action="store_true", help="random weights, tiny populations")
    options = parser.parse_args()
    if options.smoke:
        options.generations = 2
        with TemporaryDirectory() as folder:
            measure(*smoke_files(Path(folder)), options)
        return
    if options.weights is None or options.test is None:
        parser.error("weights and test are needed without --smoke")
    result = measure(options.weights, options.test, options)
    write(options.output, result)


if __name__ == "__main__":
    main()
