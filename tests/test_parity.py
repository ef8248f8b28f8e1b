"""Our networks against PyTorch itself, on the same weight files; needs the extra `parity`."""

import jax
import numpy as np
import pytest
from data_paths import requires_shared

from jgaprune.bench.parity import compare
from jgaprune.bench.random_weights import channels_last
from jgaprune.converters import list_models, load
from jgaprune.converters.formats import write_pth

torch = pytest.importorskip("torch", reason="parity tests need the extra 'parity'")

from jgaprune.bench import torch_parity as parity  # noqa: E402
from jgaprune.bench.torch_logits import logits_of  # noqa: E402
from jgaprune.bench.torch_networks import CifarResNet, LeNet5  # noqa: E402
from jgaprune.bench.torch_references import CASES, REFERENCES  # noqa: E402

pytestmark = pytest.mark.parity


def assert_parity(ours, theirs, inputs, tolerance=None):
    """Close in value, and the same arg-max; `pytest -s` shows how close."""
    found = compare(ours, theirs, inputs, tolerance)
    print(found)
    assert found.is_whole, found


def test_every_architecture_is_compared():
    compared = {case.arch for case in CASES.values()}
    assert compared == set(REFERENCES) == set(list_models())


@pytest.mark.parametrize("name", CASES)
def test_random_weights_give_the_same_logits(name, tmp_path):
    case = CASES[name]
    pair = parity.pair(case, tmp_path / "weights.pth", write_pth)
    for num_inputs in (3, 8):
        inputs = parity.inputs_of(name, case, num_inputs)
        theirs = logits_of(pair.network, inputs)
        ours = parity.our_logits(pair.model, inputs)
        assert_parity(ours, theirs, inputs, parity.tolerance_of(case))
    with jax.enable_x64(True):
        ours = parity.our_logits(parity.in_float64(pair.model), inputs)
    assert ours.dtype == np.float64
    assert_parity(ours, theirs, inputs, parity.tolerance_of(case, "float64"))


@pytest.mark.parametrize("name", CASES)
def test_each_of_three_masks_gives_the_same_logits(name, tmp_path):
    case = CASES[name]
    pair = parity.pair(case, tmp_path / "weights.pth", write_pth)
    masks = parity.random_masks(pair.model, 3)
    inputs = parity.inputs_of(name, case, 3)
    ours = parity.our_masked_logits(pair.model, masks, inputs)
    theirs = parity.their_masked_logits(pair, masks, inputs)
    for member in range(3):
        assert_parity(ours[member], theirs[member], inputs, parity.tolerance_of(case))


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
    inputs = ((images / 255 - mean) / std).astype(np.float32)
    theirs = logits_of(real_network(CifarResNet(depth), path), inputs)
    assert_parity(parity.our_logits(model, inputs), theirs, inputs)


def test_real_lenet5_gives_the_same_logits():
    path = requires_shared("mnist_lenet5.pt")
    images = np.load(requires_shared("mnist_test.npz"))["images"][:1000]
    pixels = torch.from_numpy(images).float()[:, None] / 255
    resized = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear")
    inputs = channels_last(((resized - 0.1307) / 0.3081).numpy())
    theirs = logits_of(real_network(LeNet5(), path), inputs)
    assert_parity(parity.our_logits(load("auto", path), inputs), theirs, inputs)
