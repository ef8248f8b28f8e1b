"""What a user of PyTorch would run instead: the same masks on the same inputs.

Only imported where torch is asked for. The paper's loop is written anew from its description:
one real score per weight, sorted per tensor, the smallest half removed
(sun-asterisk-research/ga_pruning_research).
"""

from collections.abc import Callable

import jax
import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from jgaprune.bench.timing import Runner
from jgaprune.bench.torch_logits import channels_first
from jgaprune.bench.torch_references import REFERENCES
from jgaprune.converters.leaves import from_leaf
from jgaprune.model import Model
from jgaprune.types import Array, Masks

Weights = dict[str, Tensor]
KEPT_FRACTION = 0.5


def torch_rivals(model: Model, inputs: Array, masks: Masks) -> dict[str, Runner]:
    """Runners that predict classes for every candidate, by name.

    Args:
      model: from `jgaprune.converters`; for other models, and those of tokens, there are no rivals.
      inputs: `[N, ...]`, channels last.
      masks: boolean, with leading axis `P`.

    Returns:
      `paper_loop`: masks made from scores by sorting, one candidate after another;
      `torch_masked_loop`: masks ready, one candidate after another; `torch_vmap`: masks ready,
      all candidates at once. Each returns predictions `int64 [P, N]`. They run where JAX does, on
      the CPU or a CUDA device.
    """
    is_known = model.spec.name in REFERENCES and model.spec.tensors
    if not is_known or model.spec.vocabulary is not None:
        return {}
    device = torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")
    if device.type == "cuda":
        # As JAX does on GPUs that have it: products of float32 in TensorFloat-32.
        torch.set_float32_matmul_precision("high")
    network = REFERENCES[model.spec.name](**dict(model.spec.config)).to(device).eval()
    leaves = {**model.params, **model.buffers}
    network.load_state_dict(_as_tensors(model, leaves, device), strict=False)
    dense = {name: weights.detach() for name, weights in network.named_parameters()}
    shown = torch.tensor(channels_first(np.asarray(inputs)), device=device)
    num_candidates = next(iter(masks.values())).shape[0]
    population = [
        _as_tensors(model, {name: mask[index] for name, mask in masks.items()}, device)
        for index in range(num_candidates)
    ]
    scores = [{name: torch.rand_like(dense[name]) for name in one} for one in population]
    stacked = {name: torch.stack([one[name] for one in population]) for name in population[0]}

    def predict(masks: Weights) -> Tensor:
        masked = {name: dense[name] * mask for name, mask in masks.items()}
        return functional_call(network, masked, (shown,)).argmax(dim=-1)

    return {
        "paper_loop": _runner(lambda: [predict(_by_sorting(one)) for one in scores]),
        "torch_masked_loop": _runner(lambda: [predict(one) for one in population]),
        "torch_vmap": _runner(lambda: vmap(predict)(stacked)),
    }


def _as_tensors(model: Model, leaves: dict[str, Array], device: torch.device) -> Weights:
    """Leaves by PyTorch's names, in its layouts."""
    return {
        tensor.name: torch.tensor(from_leaf(np.asarray(leaves[leaf]), tensor), device=device)
        for leaf, tensor in model.spec.tensors
        if leaf in leaves
    }


def _by_sorting(scores: Weights) -> Weights:
    """Per tensor, the weights with the smallest |score| removed."""
    masks = {}
    for name, values in scores.items():
        order = values.abs().flatten().sort().indices
        mask = torch.ones(values.numel(), device=values.device)
        mask[order[: int((1 - KEPT_FRACTION) * values.numel())]] = 0
        masks[name] = mask.reshape(values.shape)
    return masks


def _runner(work: Callable[[], list[Tensor] | Tensor]) -> Runner:
    def run() -> np.ndarray:
        with torch.no_grad():
            done = work()
        done = done if isinstance(done, Tensor) else torch.stack(done)
        return done.cpu().numpy()  # waits for the device

    return run
