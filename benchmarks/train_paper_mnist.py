"""Train the paper's MNIST network, the one that `paper_mnist.py` prunes.

Question: does a freshly trained copy reach 98.5 % on the test images?
Convolution 1-32, ReLU, convolution 32-64, max-pool, linear 9216-128, ReLU, linear 128-10; no
biases (sun-asterisk-research/ga_pruning_research): the network of PyTorch's MNIST example. How the
paper trained it is not known. Dropout, and a weight decay that was chosen so that random masks do
about as well as the paper logged: with less of it they do worse, with more they do better. So
their agreement with the log is no evidence of how the paper trained. Writes a `.safetensors` file
with the names and layouts of PyTorch; some ten minutes on a CPU.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import training

from jgaprune.types import Array, Key, Params

SHAPES = {
    "conv1.weight": (32, 1, 3, 3),
    "conv2.weight": (64, 32, 3, 3),
    "fc1.weight": (128, 9216),
    "fc2.weight": (10, 128),
}
MEAN, STD = 0.1307, 0.3081
BATCH = 64
WEIGHT_DECAY = 0.5


def initial(key: Key) -> Params:
    """PyTorch's initial weights: uniform in +-1/sqrt(fan_in)."""
    keys = jax.random.split(key, len(SHAPES))
    bounds = {name: np.prod(shape[1:]) ** -0.5 for name, shape in SHAPES.items()}
    return {
        name: jax.random.uniform(keys[i], shape, minval=-bounds[name], maxval=bounds[name])
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def logits(params: Params, images: Array, dropout_key: Key | None = None) -> Array:
    """Logits `[N, 10]` of images `uint8 [N, 28, 28]`; with dropout where a key is given."""
    pool_key, hidden_key = (None, None) if dropout_key is None else jax.random.split(dropout_key)
    x = ((images / 255.0 - MEAN) / STD)[..., None]
    x = jax.nn.relu(_conv(x, params["conv1.weight"]))
    x = _conv(x, params["conv2.weight"])
    x = jnp.max(x.reshape(-1, 12, 2, 12, 2, 64), axis=(2, 4))
    x = x.transpose(0, 3, 1, 2).reshape(-1, 9216)  # PyTorch flattens channels first
    hidden = jax.nn.relu(_drop(pool_key, x, 0.25) @ params["fc1.weight"].T)
    return _drop(hidden_key, hidden, 0.5) @ params["fc2.weight"].T


def _conv(x: Array, kernel: Array) -> Array:
    layouts = ("NHWC", "OIHW", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layouts)


def _drop(key: Key | None, x: Array, share: float) -> Array:
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, share, x.shape), 0.0, x / (1 - share))


def train(images: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> Params:
    """AdamW with a cosine schedule from 1e-3 to 0."""
    schedule = optax.cosine_decay_schedule(1e-3, training.num_steps(images, BATCH, epochs))
    initial_key, dropout_key = jax.random.split(jax.random.key(seed))
    return training.train(
        logits,
        initial(initial_key),
        (images, labels),
        optimizer=optax.adamw(schedule, weight_decay=WEIGHT_DECAY),
        batch=BATCH,
        epochs=epochs,
        key=dropout_key,
        seed=seed,
    )


def main() -> None:
    """Train, write the weights, print the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path, nargs="?", help=".npz, images [N, 28, 28] and labels")
    parser.add_argument("test", type=Path, nargs="?", help="the same, for the printed accuracy")
    parser.add_argument("--output", type=Path, default=Path("paper_mnist.safetensors"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="train on the first images only")
    parser.add_argument("--smoke", action="store_true", help="a few steps on noise, kept nowhere")
    options = parser.parse_args()
    if options.smoke:
        noise = np.random.default_rng(0).integers(0, 256, (2 * BATCH, 28, 28), dtype=np.uint8)
        labels = np.arange(2 * BATCH) % 10
        reached = training.accuracy(logits, train(noise, labels, 1, 0), noise, labels)
        print(f"{reached:.2%} on noise")
        return
    if options.train is None or options.test is None:
        parser.error("train and test are needed without --smoke")
    data, test = np.load(options.train), np.load(options.test)
    start = time.perf_counter()
    images, labels = data["images"][: options.limit], data["labels"][: options.limit]
    params = train(images, labels, options.epochs, options.seed)
    reached = training.accuracy(logits, params, test["images"], test["labels"])
    training.save(options.output, {name: np.asarray(leaf) for name, leaf in params.items()})
    seconds = time.perf_counter() - start
    print(f"{reached:.2%} of {len(test['labels'])} test images after {seconds:.0f} s")


if __name__ == "__main__":
    main()
