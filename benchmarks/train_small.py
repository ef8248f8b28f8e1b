"""Train small networks on MNIST and Fashion-MNIST, the ones that `quality.py` prunes.

Question: how accurate are they dense? Two multilayer perceptrons of published widths, the paper's
MNIST network (`train_paper_mnist.py`), and the same one on Fashion-MNIST. Epochs are fixed in
`NETWORKS`. Those of the MNIST perceptron bring the dense network nearest to the 94 % of a
published one on the test images; nothing else was chosen by them.

    python benchmarks/train_small.py --data FOLDER --output FOLDER

FOLDER holds `mnist_train.npz`, `fashion_train.npz` and the same of `test`: `images` `[N, 28, 28]`
and `labels`. Writes a `.safetensors` file per network, and 256 training images without labels per
data set. Seconds for the perceptrons, some minutes per epoch for the convolutional networks.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
import train_paper_mnist
import training

from jgaprune import converters
from jgaprune.model import Model
from jgaprune.types import Array, Key, Params

NUM_UNLABELLED = 256
BATCH = 128
Data = tuple[np.ndarray, np.ndarray]


class Network(NamedTuple):
    """What is trained, on what, and how long; without widths the paper's network."""

    data: str
    epochs: int
    widths: tuple[int, ...] = ()


NETWORKS = {
    "fashion_mlp": Network("fashion", 10, (784, 256, 256, 256, 10)),
    "mnist_mlp": Network("mnist", 7, (784, 40, 20, 10)),
    "paper_mnist": Network("mnist", 2),
    "paper_fashion": Network("fashion", 2),
}


def main() -> None:
    """Train, write the weights, print the accuracies."""
    options = _options()
    for name in options.networks:
        network = NETWORKS[name]
        started = time.perf_counter()
        training_data, test = _data(network, options)
        epochs = 1 if options.smoke else options.epochs or network.epochs
        tensors, reached = _trained(network._replace(epochs=epochs), training_data, test)
        if not options.smoke:
            training.save(options.output / f"{name}.safetensors", tensors)
        seconds = time.perf_counter() - started
        print(f"{name}: {reached:.2%} of {len(test[1])} images after {seconds:.0f} s", flush=True)
    if not options.smoke:
        for data in {NETWORKS[name].data for name in options.networks}:
            _write_unlabelled(data, options)


def _trained(network: Network, data: Data, test: Data) -> tuple[dict[str, np.ndarray], float]:
    """Tensors as in a file, and the accuracy on test images."""
    if network.widths:
        model = converters.untrained("mlp", widths=network.widths, bias=True)
        logits = _logits(model)
        params = _train_mlp(model, logits, data, network.epochs)
        return training.as_in_file(model, params), training.accuracy(logits, params, *test)
    params = train_paper_mnist.train(*data, network.epochs, seed=0)
    tensors = {name: np.asarray(leaf) for name, leaf in params.items()}
    return tensors, training.accuracy(train_paper_mnist.logits, params, *test)


def _logits(model: Model) -> training.Logits:
    """Of images in 0..255, as the architecture's own preprocessing has it."""

    def logits(params: Params, images: Array, key: Key | None) -> Array:
        inputs = images.reshape(len(images), -1) / model.spec.preprocessing.scale
        return model.apply(params, model.buffers, inputs)

    return logits


def _train_mlp(model: Model, logits: training.Logits, data: Data, epochs: int) -> Params:
    """Adam with a cosine schedule from 1e-3 to 0."""
    steps = training.num_steps(data[0], BATCH, epochs)
    return training.train(
        logits,
        model.params,
        data,
        optimizer=optax.adam(optax.cosine_decay_schedule(1e-3, steps)),
        batch=BATCH,
        epochs=epochs,
        key=jax.random.key(0),
        seed=0,
    )


def _data(network: Network, options: argparse.Namespace) -> tuple[Data, Data]:
    """Images and labels for training, and others for the accuracy."""
    if options.smoke:
        noise = np.random.default_rng(0).integers(0, 256, (BATCH, 28, 28), dtype=np.uint8)
        return (noise, np.arange(BATCH) % 10), (noise, np.arange(BATCH) % 10)
    train, test = (options.data / f"{network.data}_{part}.npz" for part in ("train", "test"))
    return _read(train), _read(test)


def _read(path: Path) -> Data:
    with np.load(path) as arrays:
        return arrays["images"], arrays["labels"]


def _write_unlabelled(data: str, options: argparse.Namespace) -> None:
    """Random training images, all that a user without the labels may have."""
    images, _ = _read(options.data / f"{data}_train.npz")
    chosen = np.random.default_rng(0).permutation(len(images))[:NUM_UNLABELLED]
    path = options.output / f"{data}_unlabelled.npz"
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, images=images[chosen])
    partial.replace(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the images")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--epochs", type=int, help="by default those of each network")
    parser.add_argument("--smoke", action="store_true", help="a step on noise, kept nowhere")
    options = parser.parse_args()
    if options.data is None and not options.smoke:
        parser.error("--data is needed without --smoke")
    return options


if __name__ == "__main__":
    main()
