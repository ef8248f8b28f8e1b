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
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", [*TORCHVISION, *HUGGING_FACE])
def test_same_logits_as_in_torch(name):
    found, missing = available()
    if name in missing:
        pytest.skip(f"{name} can't be imported: {missing[name]}")
    module, inputs = found[name].build(), found[name].inputs(3)
    model = from_torch(module, inputs[:2])
    with torch.no_grad():
        output = module(inputs)
    reference = getattr(output, "logits", output).numpy()
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(jax.jit(model.apply)(model.params, model.buffers, inputs.numpy()))
    assert np.abs(reference).max() > 0.1 and np.ptp(reference, axis=0).max() > 1e-3
    assert relative_error(logits, reference) <= TOLERANCE
    state = to_source(model, model.params, model.buffers)
    loaded = module.load_state_dict(
        {key: torch.from_numpy(array) for key, array in state.items()}, strict=True
    )
    assert not loaded.missing_keys and not loaded.unexpected_keys
