"""Train the paper's CIFAR-10 network, the one that `paper_cifar10.py` prunes.

Question: how near does it come to the 77 % that the paper reports?
Four convolutions without padding, 3-64-128, max-pool, 256-512, max-pool, linear 12800-512-128-10;
no biases. How the paper trained it is not known. Here AdamW with a cosine schedule, on mirrored and
shifted images, on labels or, where the file has none, on the outputs of a trained network of
another architecture (`--teacher`). Writes a `.safetensors` file with PyTorch's names and layouts.

    python benchmarks/train_paper_cifar10.py TRAIN.npz TEST.npz --teacher resnet32.th
"""

import argparse
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import training

from jgaprune import converters
from jgaprune.model import Model
from jgaprune.types import Array, Key, Params

_LARGEST_SHIFT = 4


def main() -> None:
    """Train, write the weights, print the accuracy."""
    options = _options()
    student = converters.untrained("paper_cifar10", seed=options.seed)
    teacher = converters.load("auto", options.teacher) if options.teacher else None
    images, labels, test = _data(options)
    started = time.perf_counter()
    params = train(student, teacher, images, labels, options)
    reached = accuracy(student._replace(params=params), *test)
    if not options.smoke:
        training.save(options.output, training.as_in_file(student, params))
    seconds = time.perf_counter() - started
    print(f"{reached:.2%} of {len(test[1])} test images after {seconds:.0f} s")


def train(
    student: Model,
    teacher: Model | None,
    images: np.ndarray,
    labels: np.ndarray | None,
    options: argparse.Namespace,
) -> Params:
    """Steps on random batches; targets are labels, or what the teacher says of the same images."""
    schedule = optax.cosine_decay_schedule(1e-3, options.steps)
    optimizer = optax.adamw(schedule, weight_decay=options.weight_decay)
    params, draw = student.params, np.random.default_rng(options.seed)
    moments = optimizer.init(params)
    for step in range(options.steps):
        chosen = draw.integers(0, len(images), options.batch)
        params, moments = train_step(
            optimizer,
            student,
            teacher,
            params,
            moments,
            images[chosen],
            None if labels is None else labels[chosen],
            jax.random.fold_in(jax.random.key(options.seed), step),
        )
    return params


@partial(jax.jit, static_argnames="optimizer", donate_argnums=4)
def train_step(
    optimizer: optax.GradientTransformation,
    student: Model,
    teacher: Model | None,
    params: Params,
    moments: optax.OptState,
    images: Array,
    labels: Array | None,
    key: Key,
) -> tuple[Params, optax.OptState]:
    """One step on the cross-entropy of one batch."""
    images = augmented(key, images)
    if teacher is None:
        targets = jax.nn.one_hot(labels, 10)
    else:
        targets = jax.nn.softmax(_logits(teacher, teacher.params, images))

    def loss(params: Params) -> Array:
        logits = _logits(student, params, images)
        return jnp.mean(optax.softmax_cross_entropy(logits, targets))

    updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
    return optax.apply_updates(params, updates), moments


def augmented(key: Key, images: Array) -> Array:
    """Images `[N, H, W, 3]`, each mirrored with probability one half and shifted."""
    mirror_key, shift_key = jax.random.split(key)
    mirrored = jax.random.bernoulli(mirror_key, 0.5, (len(images), 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
    starts = jax.random.randint(shift_key, (len(images), 2), 0, 2 * _LARGEST_SHIFT + 1)
    pad = (_LARGEST_SHIFT, _LARGEST_SHIFT)
    padded = jnp.pad(images, ((0, 0), pad, pad, (0, 0)), mode="reflect")

    def crop(image: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice(image, (*start, 0), images.shape[1:])

    return jax.vmap(crop)(padded, starts)


def accuracy(model: Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy, in 0..1."""
    predict = jax.jit(lambda model, images: jnp.argmax(_logits(model, model.params, images), -1))
    steps = range(0, len(images), 500)
    hits = [predict(model, images[i : i + 500]) == labels[i : i + 500] for i in steps]
    return float(np.mean(np.concatenate(hits)))


def _logits(model: Model, params: Params, images: Array) -> Array:
    """Of images `uint8 [N, H, W, 3]`, in the model's own normalisation."""
    how = model.spec.preprocessing
    inputs = (images / how.scale - jnp.array(how.mean)) / jnp.array(how.std)
    return model.apply(params, model.buffers, inputs)


def _data(options: argparse.Namespace):
    """Training images, their labels or None, and `(images, labels)` for testing."""
    if options.smoke:
        noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        return noise, np.arange(4), (noise, np.arange(4))
    data, test = np.load(options.train), np.load(options.test)
    labels = None if options.teacher else data["labels"]
    return data["images"], labels, (test["images"], test["labels"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path, nargs="?", help=".npz, images and perhaps labels")
    parser.add_argument("test", type=Path, nargs="?", help=".npz, for the printed accuracy")
    parser.add_argument("--teacher", type=Path, help="weights whose outputs stand in for labels")
    parser.add_argument("--output", type=Path, default=Path("paper_cifar10.safetensors"))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two steps on noise, kept nowhere")
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.batch, options.teacher = 2, 2, None
    elif options.train is None or options.test is None:
        parser.error("train and test are needed without --smoke")
    return options


if __name__ == "__main__":
    main()
