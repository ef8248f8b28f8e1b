"""One comparison of a converted network with the same network in PyTorch.

Both get the same file and the same inputs. PyTorch computes in float64, so that only our own
rounding is seen. Only imported where torch is asked for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from jgaprune.bench.random_weights import channels_last, random_inputs, random_tensors, stream
from jgaprune.bench.torch_references import Case
from jgaprune.converters import assumed_arguments, load, masks_to_source
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.model.forward import Apply
from jgaprune.types import Array, Buffers, Masks, Params

TOLERANCE = 1e-5
TOLERANCE_IN_FLOAT64 = 1e-10
_LEAST_LOGIT = 0.1
_LEAST_DIFFERENCE = 10 * TOLERANCE
_KEPT = 0.9


class Parity(NamedTuple):
    """How far two arrays of logits `[..., C]` are apart.

    Attributes:
      error: `max |ours - theirs| / max |theirs|`.
      same_answers: whether the largest logit is the same everywhere.
      largest: `max |theirs|`; near zero it proves nothing.
      spread: by how much their logits differ between inputs at least, relative to `largest`.
    """

    error: float
    same_answers: bool
    largest: float
    spread: float

    def holds(self, tolerance: float) -> bool:
        """Whether the two are equal up to `tolerance`, and the comparison could have failed."""
        meant = self.largest > _LEAST_LOGIT and self.spread > _LEAST_DIFFERENCE
        return meant and self.same_answers and self.error <= tolerance


def tolerance_of(case: Case, dtype: str = "float32") -> float:
    """Of the error: few layers round less; "float64" is for networks computed in it."""
    if dtype == "float64":
        return TOLERANCE_IN_FLOAT64
    return 2e-6 if case.is_small else TOLERANCE


def compare(ours: np.ndarray, theirs: np.ndarray) -> Parity:
    """Compares logits `[N, ..., C]` of the same inputs."""
    largest = float(np.abs(theirs).max())
    differences = np.abs(theirs[1:] - theirs[:-1]).reshape(len(theirs) - 1, -1).max(axis=1)
    return Parity(
        error=float(np.abs(ours - theirs).max()) / largest,
        same_answers=bool((ours.argmax(axis=-1) == theirs.argmax(axis=-1)).all()),
        largest=largest,
        spread=float(differences.min()) / largest,
    )


class Pair(NamedTuple):
    """The same weights on both sides.

    Attributes:
      network: in PyTorch, float64.
      model: ours, in float32 or float64.
    """

    network: nn.Module
    model: Model


def pair(
    case: Case,
    path: Path,
    write: Callable[[Path, dict[str, np.ndarray]], Any],
    dtype: Any = np.float32,
) -> Pair:
    """Random weights in a file, and what both sides make of it.

    Args:
      case: the network.
      path: where the file goes.
      write: `path, tensors`: in some format.
      dtype: of the floats in the file.
    """
    network = case.build()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors = {name: _cast(array, dtype) for name, array in random_tensors(shapes).items()}
    state = {name: torch.from_numpy(_cast(array, np.float64)) for name, array in tensors.items()}
    network = network.double().eval()
    network.load_state_dict(state)
    write(path, tensors)
    assumed = {
        name: case.config[name] for name in assumed_arguments(case.arch) if name in case.config
    }
    return Pair(network, load(case.arch, path, **assumed))


def in_float64(model: Model) -> Model:
    """The model with its arrays in float64, inside of `jax.enable_x64`."""
    params, buffers = (
        {name: jnp.asarray(np.asarray(leaf), jnp.float64) for name, leaf in leaves.items()}
        for leaves in (model.params, model.buffers)
    )
    return model._replace(params=params, buffers=buffers)


def inputs_of(name: str, case: Case, num_inputs: int) -> np.ndarray:
    """Random inputs in PyTorch's layout, float32 `[N, ...]`."""
    return random_inputs(name, case.input_shape)[:num_inputs]


@torch.no_grad()
def their_logits(network: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Of a network in float64."""
    return network(torch.from_numpy(inputs).double()).numpy()


def our_logits(model: Model, inputs: np.ndarray) -> np.ndarray:
    """In the model's own dtype, with products in full precision on GPUs, too."""
    dtype = next(iter(model.params.values())).dtype
    shown = jnp.asarray(channels_last(inputs), dtype)
    with jax.default_matmul_precision("highest"):
        return np.asarray(_logits(model.apply, model.params, model.buffers, shown))


@jax.jit
def _logits(apply: Apply, params: Params, buffers: Buffers, inputs: Array) -> Array:
    """Compiled once for all files of one network."""
    return apply(params, buffers, inputs)


def random_masks(model: Model, num_masks: int) -> Masks:
    """Nine of ten prunable weights each, `bool [P, ...]` by leaf name."""
    return {
        name: jnp.asarray(
            stream(name).random_sample((num_masks, *model.params[name].shape)) < _KEPT
        )
        for name in model.spec.prunable
    }


def our_masked_logits(model: Model, masks: Masks, inputs: np.ndarray) -> np.ndarray:
    """`[P, N, C]`, by a `vmap` over the masks."""
    shown = jnp.asarray(channels_last(inputs))

    def one(masks: Masks) -> jax.Array:
        return model.apply(apply_masks(model.params, masks), model.buffers, shown)

    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(jax.vmap(one))(masks))


@torch.no_grad()
def their_masked_logits(pair: Pair, masks: Masks, inputs: np.ndarray) -> np.ndarray:
    """`[P, N, C]`: one after another, with the masks in the file's names and layouts."""
    num_masks = len(next(iter(masks.values())))
    members = []
    for index in range(num_masks):
        named = masks_to_source(pair.model, {name: mask[index] for name, mask in masks.items()})
        masked = {
            name: weights * torch.from_numpy(named[name]) if name in named else weights
            for name, weights in pair.network.state_dict().items()
        }
        shown = torch.from_numpy(inputs).double()
        members.append(torch.func.functional_call(pair.network, masked, (shown,)).numpy())
    return np.stack(members)


def _cast(array: np.ndarray, dtype: Any) -> np.ndarray:
    return array.astype(dtype) if array.dtype.kind != "i" else array
