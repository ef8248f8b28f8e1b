"""`from_torch` on other people's networks, where their packages can be imported."""

import jax
import numpy as np
import pytest
from golden import relative_error

from jgaprune.converters import from_torch, to_source

torch = pytest.importorskip("torch", reason="parity tests need the extra 'parity'")

from jgaprune.bench.torch_zoo import HUGGING_FACE, TORCHVISION, available  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those packages warn about this and that
]
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
NAMES = [*TORCHVISION, *HUGGING_FACE]


def entry(name):
    found, missing = available()
    if name in missing:
        pytest.skip(f"{name} can't be imported: {missing[name]}")
    return found[name]


def theirs(module, inputs):
    with torch.no_grad():
        output = module(inputs)
    return getattr(output, "logits", output).numpy()


def ours(model, inputs):
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(model.apply)(model.params, model.buffers, inputs.numpy()))


def in_float64(inputs):
    return inputs.double() if inputs.is_floating_point() else inputs


@pytest.mark.parametrize("name", NAMES)
def test_same_logits_as_in_torch(name):
    """In float32, deep random networks may be further from float64 in torch itself than 1e-5."""
    module, inputs = entry(name).build(), entry(name).inputs(3)
    model = from_torch(module, inputs[:2])
    reference = theirs(module, inputs)
    assert np.abs(reference).max() > 0.1 and np.ptp(reference, axis=0).max() > 1e-3
    state = to_source(model, model.params, model.buffers)
    loaded = module.load_state_dict(
        {key: torch.from_numpy(array) for key, array in state.items()}, strict=True
    )
    assert not loaded.missing_keys and not loaded.unexpected_keys
    rounding = relative_error(reference, theirs(module.double(), in_float64(inputs)))
    assert relative_error(ours(model, inputs), reference) <= max(TOLERANCE["float32"], 2 * rounding)


@pytest.mark.parametrize("name", NAMES)
def test_same_logits_in_float64(name):
    module, inputs = entry(name).build().double(), in_float64(entry(name).inputs(3))
    with jax.enable_x64(True):
        logits = ours(from_torch(module, inputs[:2]), inputs)
    assert relative_error(logits, theirs(module, inputs)) <= TOLERANCE["float64"]
