"""Writes `tests/data/golden.npz` and `golden.json`: what PyTorch answers, for tests without it.

Run as `python tests/make_golden.py` with the extra `parity`. Weights and inputs are not
stored: `random_weights` draws them again from the names.
"""

import json

import numpy as np
import torch
from data_paths import GOLDEN

from jgaprune.bench.random_weights import random_tensors
from jgaprune.bench.torch_logits import logits_of
from jgaprune.bench.torch_parity import inputs_of
from jgaprune.bench.torch_references import CASES
from jgaprune.converters import assumed_arguments

# The other depths differ in the number of blocks only, the large images in size; parity tests run
# them.
LEFT_OUT = (
    *("cifar_resnet20_on_oblong_images", "cifar_resnet32", "cifar_resnet56", "cifar_resnet110"),
    *("digits_cnn_on_oblong_images", "resnet18", "resnet34", "resnet101", "resnet152"),
    *("resnet50_in_groups", "vgg16_bn"),
)
TRANSFORMERS = ("bert", "gpt2", "llama", "vit")
"""Parity tests compare them, and others with NumPy."""


def main() -> None:
    """Evaluate each network and store its logits, tensor shapes and arguments."""
    logits, cases = {}, {}
    for name, case in CASES.items():
        if name in LEFT_OUT or case.arch in TRANSFORMERS:
            continue
        network = case.build()
        shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        tensors = random_tensors(shapes)
        network.load_state_dict({name: torch.from_numpy(a) for name, a in tensors.items()})
        logits[name] = logits_of(network, inputs_of(name, case, 8)).astype(np.float32)
        assumed = assumed_arguments(case.arch)
        cases[name] = {
            "arch": case.arch,
            "input_shape": case.input_shape,
            "config": {name: value for name, value in case.config.items() if name in assumed},
            "tensors": {tensor: " ".join(map(str, shape)) for tensor, shape in shapes.items()},
        }
    np.savez_compressed(GOLDEN / "golden.npz", **logits)
    (GOLDEN / "golden.json").write_text(json.dumps(cases, indent=0) + "\n")


if __name__ == "__main__":
    main()
