"""The golden answers in `tests/data`, which `make_golden` wrote with PyTorch."""

import json
from typing import NamedTuple

import jax
import numpy as np
from data_paths import GOLDEN

from jgaprune.bench.random_weights import channels_last, random_inputs, random_tensors
from jgaprune.converters import catalog, load
from jgaprune.converters.formats import write_npz


class GoldenCase(NamedTuple):
    """One network: how `load` is called, and what PyTorch says.

    Attributes:
      arch: architecture name.
      config: arguments of `load`.
      tensors: the state_dict.
      inputs: `[N, ...]`, channels last.
      logits: `[N, C]`.
    """

    arch: str
    config: dict[str, object]
    tensors: dict[str, np.ndarray]
    inputs: np.ndarray
    logits: np.ndarray


_CASES = json.loads((GOLDEN / "golden.json").read_text())
NAMES = list(_CASES)


def golden(name: str) -> GoldenCase:
    case = _CASES[name]
    shapes = {n: tuple(map(int, s.split())) for n, s in case["tensors"].items()}
    inputs = channels_last(random_inputs(name, tuple(case["input_shape"])))
    logits = np.load(GOLDEN / "golden.npz")[name]
    return GoldenCase(case["arch"], case["config"], random_tensors(shapes), inputs, logits)


def relative_error(logits: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over the largest reference, which must not be vacuous."""
    assert np.abs(reference).max() > 0.1, "logits near zero prove nothing"
    return float(np.abs(np.asarray(logits) - reference).max() / np.abs(reference).max())


def error_of(name, folder):
    """Relative error of the golden case's network against PyTorch, in full float32 on GPUs too."""
    case = golden(name)
    write_npz(folder / "weights.npz", case.tensors)
    model = load(case.arch, folder / "weights.npz", **case.config)
    with jax.default_matmul_precision("highest"):
        logits = model.apply(model.params, model.buffers, case.inputs)
    return relative_error(logits, case.logits)


def mutant(monkeypatch, arch, **changes):
    """Replaces a field of one architecture."""
    changed = [a._replace(**changes) if a.name == arch else a for a in catalog.ARCHITECTURES]
    monkeypatch.setattr(catalog, "ARCHITECTURES", tuple(changed))
