"""What a PyTorch network answers to the inputs of one of our models.

Only imported where torch is asked for.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from jgaprune.model import PADDING


@torch.no_grad()
def logits_of(
    network: nn.Module, inputs: np.ndarray, weights: Mapping[str, Tensor] | None = None
) -> np.ndarray:
    """The network's answer to a model's inputs, in evaluation mode and float64.

    Args:
      network: gets channels before height and width; its output may be the logits, a tuple
        that starts with them, or an object that has them as `logits`.
      inputs: floats `[N, ...]`, channels last, or tokens `[N, L]`, negative ones being padding:
        networks that take an attention mask get it.
      weights: float64, by name, in the place of the network's own.

    Raises:
      ValueError: the output is nothing of these.
    """
    network = network.double().eval()
    output = functional_call(network, dict(weights or {}), *_arguments(network, inputs))
    output = getattr(output, "logits", output)
    output = output[0] if isinstance(output, tuple) else output
    if not isinstance(output, Tensor):
        raise ValueError(
            f"the PyTorch network gave a {type(output).__name__}; expected logits, a tuple that "
            "starts with them, or an object with the attribute logits."
        )
    return output.double().numpy()


def channels_first(inputs: np.ndarray) -> np.ndarray:
    """Images `[N, H, W, channels]` as `[N, channels, H, W]`; other inputs as they are."""
    moved = np.moveaxis(inputs, -1, 1) if inputs.ndim == 4 else inputs
    return np.ascontiguousarray(moved)


def _arguments(network: nn.Module, inputs: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """What the network is called with, by place and by name."""
    shown = torch.from_numpy(channels_first(inputs))
    if shown.is_floating_point():
        return (shown.double(),), {}
    mask, tokens = (shown != PADDING).long(), shown.long().clamp(min=0)
    parameters = inspect.signature(network.forward).parameters
    if "attention_mask" in parameters:
        return (tokens,), {"attention_mask": mask}
    needed = [one for one in parameters.values() if one.default is one.empty]
    return ((tokens, mask) if len(needed) > 1 else (tokens,)), {}
