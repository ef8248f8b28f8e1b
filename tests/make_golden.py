"""Writes `tests/data/golden.npz` and `golden.json`: what PyTorch answers, for tests without it.

Run as `python tests/make_golden.py` with the extra `parity`. Weights and inputs are not
stored: `random_weights` draws them again from the names.
"""

import json

import numpy as np
import torch
from data_paths import GOLDEN
from random_weights import random_inputs, random_tensors

from jgaprune.bench.torch_networks import CASES, logits_of

# The other depths differ in the number of blocks only, the large images in size; parity tests run
# them.
LEFT_OUT = ("cifar_resnet32", "cifar_resnet56", "cifar_resnet110", "resnet18")


def main() -> None:
    """Evaluate each network and store its logits, tensor shapes and arguments."""
    logits, cases = {}, {}
    for name, case in CASES.items():
        if name in LEFT_OUT:
            continue
        network = case.build()
        shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        tensors = random_tensors(shapes)
        network.load_state_dict({name: torch.from_numpy(a) for name, a in tensors.items()})
        answer = logits_of(network, random_inputs(name, case.input_shape))
        logits[name] = answer.astype(np.float32)
        cases[name] = {
            "arch": case.arch,
            "input_shape": case.input_shape,
            "config": case.config,
            "tensors": {tensor: " ".join(map(str, shape)) for tensor, shape in shapes.items()},
        }
    np.savez_compressed(GOLDEN / "golden.npz", **logits)
    (GOLDEN / "golden.json").write_text(json.dumps(cases, indent=0) + "\n")


if __name__ == "__main__":
    main()
