"""A `state_dict` of PyTorch tensors, in the types that the module has."""

import numpy as np
import pytest

from jgaprune import converters

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="needs the extra torch")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_go_back_in_their_own_types(dtype):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU())
    module = module.to(dtype)
    model = converters.from_torch(module, torch.zeros(2, 4, dtype=dtype))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights = converters.to_torch(model, model.params, model.buffers)
    assert {n: t.dtype for n, t in weights.items()} == {n: t.dtype for n, t in before.items()}
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.items())
    masked = {name: leaf * (leaf > 0) for name, leaf in model.params.items()}
    pruned = converters.to_torch(model, masked, model.buffers)
    module.load_state_dict(pruned, strict=True)
    expected = before["0.weight"] * (before["0.weight"] > 0)
    assert torch.equal(module.state_dict()["0.weight"], expected)
    pruned["0.weight"].zero_()
    assert np.any(np.asarray(masked["0.weight"]))
