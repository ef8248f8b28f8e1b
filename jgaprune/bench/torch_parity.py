"""A converted network and the same network in PyTorch, to be compared.

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

from jgaprune.bench.parity import TOLERANCES
from jgaprune.bench.random_weights import channels_last, random_inputs, random_tensors, stream
from jgaprune.bench.torch_logits import logits_of
from jgaprune.bench.torch_references import Case
from jgaprune.converters import assumed_arguments, load, masks_to_source
from jgaprune.masks import apply_masks
from jgaprune.model import PADDING, Model
from jgaprune.model.forward import Apply
from jgaprune.types import Array, Buffers, Masks, Params

_KEPT = 0.9
_LENGTHS = (9, 7, 3, 1)
"""Of the first windows of tokens; behind them is padding."""


def tolerance_of(case: Case, dtype: str = "float32") -> float:
    """Of the error: few layers round less; "float64" is for networks computed in it."""
    return 2e-6 if case.is_small and dtype == "float32" else TOLERANCES[dtype]


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
    drawn = {name: torch.from_numpy(array) for name, array in random_tensors(shapes).items()}
    network.load_state_dict(drawn)  # Tensors that share their memory are one of those drawn.
    tensors = {name: _cast(tensor.numpy(), dtype) for name, tensor in network.state_dict().items()}
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
    """Random inputs of our model: float32 `[N, ...]`, channels last, or int32 tokens `[N, L]`.

    Some tokens are padding, in networks that look both ways in the middle, too.
    """
    if "vocabulary" not in case.config:
        return channels_last(random_inputs(name, case.input_shape))[:num_inputs]
    tokens = stream(name).randint(0, case.config["vocabulary"], (8, *case.input_shape))
    for row, length in enumerate(_LENGTHS):
        tokens[row, length:] = PADDING
    if case.arch == "bert":
        tokens[1, 2] = tokens[5, 3:6] = PADDING
    return tokens[:num_inputs].astype(np.int32)


def our_logits(model: Model, inputs: np.ndarray) -> np.ndarray:
    """In the model's own dtype, with products in full precision on GPUs, too."""
    dtype = next(iter(model.params.values())).dtype
    shown = jnp.asarray(_cast(inputs, dtype))
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
    shown = jnp.asarray(inputs)

    def one(masks: Masks) -> jax.Array:
        return model.apply(apply_masks(model.params, masks), model.buffers, shown)

    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(jax.vmap(one))(masks))


def their_masked_logits(pair: Pair, masks: Masks, inputs: np.ndarray) -> np.ndarray:
    """`[P, N, C]`: one after another, with the masks in the file's names and layouts."""
    num_masks = len(next(iter(masks.values())))
    weights = dict(pair.network.named_parameters())
    members = []
    for index in range(num_masks):
        named = masks_to_source(pair.model, {name: mask[index] for name, mask in masks.items()})
        masked = {name: weights[name] * torch.tensor(mask) for name, mask in named.items()}
        members.append(logits_of(pair.network, inputs, masked))
    return np.stack(members)


def _cast(array: np.ndarray, dtype: Any) -> np.ndarray:
    return array.astype(dtype) if array.dtype.kind != "i" else array
