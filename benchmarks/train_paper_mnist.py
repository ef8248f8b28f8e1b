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
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.numpy import save_file

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


@partial(jax.jit, static_argnames="optimizer", donate_argnums=(1, 2))
def train_step(
    optimizer: optax.GradientTransformation,
    params: Params,
    moments: optax.OptState,
    images: Array,
    labels: Array,
    dropout_key: Key,
) -> tuple[Params, optax.OptState]:
    """One step on the cross-entropy of one batch."""

    def loss(params: Params) -> Array:
        scores = logits(params, images, dropout_key)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, labels))

    updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
    return optax.apply_updates(params, updates), moments


def train(images: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> Params:
    """AdamW with a cosine schedule from 1e-3 to 0."""
    batches = len(images) // BATCH
    schedule = optax.cosine_decay_schedule(1e-3, epochs * batches)
    optimizer = optax.adamw(schedule, weight_decay=WEIGHT_DECAY)
    initial_key, dropout_key = jax.random.split(jax.random.key(seed))
    params = initial(initial_key)
    moments = optimizer.init(params)
    shuffle = np.random.default_rng(seed)
    order = np.concatenate([shuffle.permutation(len(images)) for _ in range(epochs)])
    for step in range(epochs * batches):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        step_key = jax.random.fold_in(dropout_key, step)
        params, moments = train_step(
            optimizer, params, moments, images[chosen], labels[chosen], step_key
        )
    return params


def accuracy(params: Params, images: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy, in 0..1."""
    predict = jax.jit(lambda params, images: jnp.argmax(logits(params, images), axis=-1))
    steps = range(0, len(images), 500)
    hits = [predict(params, images[i : i + 500]) == labels[i : i + 500] for i in steps]
    return float(np.mean(np.concatenate(hits)))


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
        print(f"{accuracy(train(noise, labels, 1, 0), noise, labels):.2%} on noise")
        return
    if options.train is None or options.test is None:
        parser.error("train and test are needed without --smoke")
    data, test = np.load(options.train), np.load(options.test)
    start = time.perf_counter()
    images, labels = data["images"][: options.limit], data["labels"][: options.limit]
    params = train(images, labels, options.epochs, options.seed)
    reached = accuracy(params, test["images"], test["labels"])
    save_file({name: np.asarray(leaf) for name, leaf in params.items()}, options.output)
    seconds = time.perf_counter() - start
    print(f"{reached:.2%} of {len(test['labels'])} test images after {seconds:.0f} s")


if __name__ == "__main__":
    main()
