"""What the scripts that train networks on labelled images share: the loop, the accuracy, the file.

Images are `uint8 [N, ...]` throughout; a network's `logits` normalises them itself.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.numpy import save_file

from jgaprune.converters.leaves import from_leaf
from jgaprune.model import Model
from jgaprune.types import Array, Key, Params

Logits = Callable[[Params, Array, Key | None], Array]
"""`params, images [N, ...], key -> logits [N, C]`; with a key as in training, else as in use."""
_AT_ONCE = 500


def train(
    logits: Logits,
    params: Params,
    data: tuple[np.ndarray, np.ndarray],
    *,
    optimizer: optax.GradientTransformation,
    batch: int,
    epochs: int,
    key: Key,
    seed: int,
) -> Params:
    """Whole batches of the images in an order that the seed draws, epoch after epoch.

    Args:
      logits: of the network.
      params: to start from.
      data: images and labels `int [N]`.
      optimizer: with its schedule, which knows the number of steps.
      batch: images per step.
      epochs: passes over the images; of the last, what fills no batch is left out.
      key: of dropout.
      seed: of the order.
    """
    images, labels = data
    params = jax.tree.map(jnp.array, params)  # they are donated
    moments = optimizer.init(params)
    shuffle = np.random.default_rng(seed)
    order = np.concatenate([shuffle.permutation(len(images)) for _ in range(epochs)])
    # One program per step, not one scan: gradients of convolutions are slow in loops on CPU.
    for step in range(num_steps(images, batch, epochs)):
        chosen = order[step * batch : (step + 1) * batch]
        step_key = jax.random.fold_in(key, step)
        params, moments = _step(
            logits, optimizer, params, moments, images[chosen], labels[chosen], step_key
        )
    return params


def num_steps(images: np.ndarray, batch: int, epochs: int) -> int:
    """How many steps `train` takes."""
    return epochs * (len(images) // batch)


def accuracy(logits: Logits, params: Params, images: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy, in 0..1."""
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(images), _AT_ONCE)]
    hits = [_classes(logits, params, images[part]) == labels[part] for part in parts]
    return float(np.mean(np.concatenate(hits)))


def save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes a `.safetensors` file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(".partial")
    save_file(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, partial_path
    )
    partial_path.replace(path)


def as_in_file(model: Model, params: Params) -> dict[str, np.ndarray]:
    """Parameters under the names and in the layouts that a PyTorch file of the model has."""
    leaves = dict(model.spec.tensors)
    return {
        leaves[name].name: from_leaf(np.asarray(leaf), leaves[name])
        for name, leaf in params.items()
    }


@partial(jax.jit, static_argnames=("logits", "optimizer"), donate_argnames=("params", "moments"))
def _step(
    logits: Logits,
    optimizer: optax.GradientTransformation,
    params: Params,
    moments: optax.OptState,
    images: Array,
    labels: Array,
    key: Key,
) -> tuple[Params, optax.OptState]:
    """One step on the cross-entropy of one batch."""

    def loss(params: Params) -> Array:
        scores = logits(params, images, key)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, labels))

    updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
    return optax.apply_updates(params, updates), moments


@partial(jax.jit, static_argnames="logits")
def _classes(logits: Logits, params: Params, images: Array) -> Array:
    return jnp.argmax(logits(params, images, None), axis=-1)
