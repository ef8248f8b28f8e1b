"""Our networks against PyTorch itself, on the same weight files; needs the extra `parity`."""

import jax
import numpy as np
import pytest
from data_paths import requires_shared
from golden import relative_error
from random_weights import channels_last, random_inputs, random_tensors

from jgaprune.converters import load
from jgaprune.converters.formats import write_pth

TOLERANCE = 1e-5
torch = pytest.importorskip("torch", reason="parity tests need the extra 'parity'")

from jgaprune.bench.torch_networks import CASES, CifarResNet, LeNet5, logits_of  # noqa: E402

pytestmark = pytest.mark.parity


def our_logits(model, inputs):
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(model.apply)(model.params, model.buffers, channels_last(inputs)))


def assert_same_answers(ours, reference):
    """Close in value, and the same arg-max; `pytest -s` shows how close."""
    error = relative_error(ours, reference)
    print(f"relative error {error:.1e}")
    assert error <= TOLERANCE
    np.testing.assert_array_equal(ours.argmax(axis=1), reference.argmax(axis=1))


@pytest.mark.parametrize("name", CASES)
def test_random_weights_give_the_same_logits(name, tmp_path):
    case = CASES[name]
    network = case.build()
    shapes = {n: tuple(tensor.shape) for n, tensor in network.state_dict().items()}
    tensors = random_tensors(shapes)
    network.load_state_dict({n: torch.from_numpy(array) for n, array in tensors.items()})
    write_pth(tmp_path / "weights.pth", tensors)
    inputs = random_inputs(name, case.input_shape)
    ours = our_logits(load(case.arch, tmp_path / "weights.pth", **case.config), inputs)
    assert_same_answers(ours, logits_of(network, inputs))


def real_network(network, path):
    """The network with the weights that torch itself reads from the file."""
    loaded = torch.load(path, map_location="cpu", weights_only=False)
    state = loaded.get("state_dict", loaded)
    network.load_state_dict({name.removeprefix("module."): t for name, t in state.items()})
    return network


@pytest.mark.parametrize("depth", [20, 32])
def test_real_resnets_give_the_same_logits(depth):
    path = requires_shared(f"cifar_resnet{depth}.th")
    images = np.load(requires_shared("cifar10_test.npz"))["images"][:200]
    model = load("auto", path)
    mean, std = model.spec.preprocessing.mean, model.spec.preprocessing.std
    inputs = ((images / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    reference = logits_of(real_network(CifarResNet(depth), path), inputs)
    assert_same_answers(our_logits(model, inputs), reference)


def test_real_lenet5_gives_the_same_logits():
    path = requires_shared("mnist_lenet5.pt")
    images = np.load(requires_shared("mnist_test.npz"))["images"][:1000]
    pixels = torch.from_numpy(images).float()[:, None] / 255
    resized = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear")
    inputs = ((resized - 0.1307) / 0.3081).numpy()
    reference = logits_of(real_network(LeNet5(), path), inputs)
    assert_same_answers(our_logits(load("auto", path), inputs), reference)
