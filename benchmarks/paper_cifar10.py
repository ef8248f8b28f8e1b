"""How long does the paper's CIFAR-10 run take here, and how does its curve look beside the log's?

Strategy 4 (the best half stays), the paper's schedule, half of the weights, accuracy on labelled
test images as fitness: as in the paper, and nowhere else in this project. Its log of this run
(sun-asterisk-research/ga_pruning_research, cifar10_sparsity_0.5_retain_50.log, RTX 2080 Ti) ends at
generation 131 after 3.2 hours; generation 113 is missing in it and its clock goes back twice after
generation 110. It saw 10 000 test images per mask: fewer are repeated up to `--images`, so that a
mask costs what it cost there.

    python benchmarks/paper_cifar10.py WEIGHTS TEST.npz

The weights come from `train_paper_cifar10.py`: how well they do decides how fast the schedule
moves on. `--smoke` needs no files and proves no numbers.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from documents import COLOURS, SPARSITY, document, out_path, parser, picture, write
from paper_runs import dense_accuracy, run_strategy

from jgaprune import converters
from jgaprune.engine import DTYPES
from jgaprune.evolvers import CIFAR10_SCHEDULE, Schedule
from jgaprune.inputs.files import read_evaluation_data
from jgaprune.model import Model
from jgaprune.objectives import accuracy
from jgaprune.spaces import scores

STRATEGY = 4
SEED = 2206
SMOKE_SCHEDULE = Schedule(((0.0, 4, 0.2), (0.5, 6, 0.15)))
LOGGED = (
    (0, 0, 0.4865, 0.5814), (5, 213, 0.5441, 0.6133), (10, 446, 0.5853, 0.6198),
    (15, 678, 0.6019, 0.6341), (20, 1102, 0.6236, 0.6550), (25, 1494, 0.6354, 0.6619),
    (30, 1885, 0.6470, 0.6704), (35, 2278, 0.6556, 0.6719), (40, 2671, 0.6618, 0.6771),
    (45, 3064, 0.6694, 0.6801), (50, 3458, 0.6740, 0.6817), (55, 3853, 0.6780, 0.6862),
    (60, 4248, 0.6822, 0.6908), (65, 4641, 0.6848, 0.6923), (70, 5034, 0.6878, 0.6928),
    (75, 5429, 0.6907, 0.6962), (80, 5822, 0.6931, 0.6971), (85, 6218, 0.6946, 0.6995),
    (90, 6612, 0.6966, 0.7023), (95, 7007, 0.6986, 0.7026), (100, 7440, 0.7012, 0.7056),
    (105, 8029, 0.7036, 0.7066), (110, 8625, 0.7041, 0.7072), (115, 9012, 0.7046, 0.7093),
    (120, 9821, 0.7079, 0.7122), (125, 10727, 0.7119, 0.7137), (130, 11375, 0.7157, 0.7177),
    (131, 11578, 0.7115, 0.7184),
)  # fmt: skip
"""Every fifth generation and the last one; seconds since generation 0."""
COLUMNS = ("generation", "seconds", "mean", "best")


def main() -> None:
    """Runs all generations and writes the curve beside the logged one."""
    options = _options()
    model, data = _subject(options)
    inputs, labels = (
        jnp.asarray(np.resize(array, (options.images, *array.shape[1:]))) for array in data
    )
    run = run_strategy(
        scores(model, SPARSITY),
        accuracy(model, labels, inputs=inputs),
        STRATEGY,
        SMOKE_SCHEDULE if options.smoke else CIFAR10_SCHEDULE,
        options.generations,
        seed=SEED,
        dtype=options.dtype,
    )
    result = document(
        __doc__,
        weights_sha256=model.spec.source and model.spec.source.sha256,
        sparsity=SPARSITY,
        seed=SEED,
        different_images=len(data[1]),
        images=options.images,
        dense=dense_accuracy(model, inputs, labels),
        seconds=sum(row["seconds"] for row in run["generations"]),
        run=run,
        logged_by_the_paper=[dict(zip(COLUMNS, row, strict=True)) for row in LOGGED],
    )
    print(f"{options.generations} generations in {result['seconds']:.1f} s with compilation")
    if not options.smoke:
        write(options.out, result)
        with picture(options.out, 11, 4, 2) as axes:
            _draw(axes, run["generations"])


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("weights", nargs="?", help=".safetensors, .pth or .npz")
    arguments.add_argument("test", nargs="?", help=".npz with images and labels")
    arguments.add_argument("--generations", type=int, default=150, help="after the random one")
    arguments.add_argument("--images", type=int, default=10_000, help="seen by every mask")
    arguments.add_argument("--dtype", choices=DTYPES, default="float32")
    options = arguments.parse_args()
    if options.smoke:
        options.generations, options.images = 2, 2
    elif options.weights is None or options.test is None:
        arguments.error("weights and test are needed without --smoke")
    options.out = out_path(options, "paper_cifar10")
    return options


def _subject(options: argparse.Namespace) -> tuple[Model, tuple[np.ndarray, np.ndarray]]:
    """The network, and its labelled test images."""
    if not options.smoke:
        model = converters.load("paper_cifar10", options.weights)
        return model, read_evaluation_data(options.test, model.spec)
    model = converters.untrained("paper_cifar10")
    with tempfile.TemporaryDirectory() as folder:
        images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        np.savez(Path(folder) / "test.npz", images=images, labels=np.arange(2, dtype=np.int32))
        return model, read_evaluation_data(Path(folder) / "test.npz", model.spec)


def _draw(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Over generations, and over seconds."""
    clock = np.cumsum([row["seconds"] for row in rows])
    logged = np.array(LOGGED)
    ours = {"best ever": [row["best_ever"] for row in rows], "mean": [row["mean"] for row in rows]}
    theirs = {"best ever": logged[:, 3], "mean": logged[:, 2]}
    for name, style in (("best ever", "-"), ("mean", "--")):
        for panel, x, x_logged in (
            (axes[0], range(len(rows)), logged[:, 0]),
            (axes[1], clock, logged[:, 1]),
        ):
            panel.plot(x, ours[name], style, color=COLOURS[0], label=f"{name}, here")
            panel.plot(x_logged, theirs[name], style, color=COLOURS[1], label=f"{name}, logged")
    axes[0].set(xlabel="generation", ylabel="accuracy on the test images")
    axes[1].set(xlabel="seconds", xscale="log")
    axes[0].legend()


if __name__ == "__main__":
    main()
