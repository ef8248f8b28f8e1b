"""The networks compute what PyTorch computes, and the check would notice if they didn't."""

import re
from dataclasses import replace
from importlib.resources import as_file, files

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_paths import requires_shared
from flax import nnx
from golden import NAMES, error_of, golden, mutant

from jgaprune.converters import catalog, fit, load, place
from jgaprune.converters.formats import write_npz
from jgaprune.converters.models import cifar_resnet, layers, mlp
from jgaprune.converters.models.architecture import no_flatten
from jgaprune.model import Model

TOLERANCE = 1e-5


SLOW = {
    *("cifar_vgg16_bn", "mobilenet_v2", "resnet18_on_oblong_images", "resnet50", "vgg11_bn"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NAMES]
)
def test_logits_are_those_of_pytorch(name, tmp_path):
    assert error_of(name, tmp_path) <= TOLERANCE


def test_parity_notices_an_unpermuted_flatten(monkeypatch, tmp_path):
    mutant(monkeypatch, "paper_mnist", flattened=no_flatten)
    assert error_of("paper_mnist", tmp_path) > 0.01


def test_parity_notices_colour_images_flattened_by_pixel(monkeypatch, tmp_path):
    mutant(monkeypatch, "mlp", flattened=no_flatten)
    assert error_of("mlp_on_colour_images", tmp_path) > 0.01


def test_parity_notices_same_padding(monkeypatch, tmp_path):
    def same(num_in, num_out, size, *, stride=1, padding=0, rngs):
        padding = "SAME" if stride == 2 else padding
        return layers.conv(num_in, num_out, size, stride=stride, padding=padding, rngs=rngs)

    monkeypatch.setattr(cifar_resnet, "conv", same)
    assert error_of("cifar_resnet20", tmp_path) > 0.001


def test_parity_notices_flax_epsilon(monkeypatch, tmp_path):
    def small_epsilon(num_channels, rngs):
        norm = layers.batch_norm(num_channels, rngs)
        norm.epsilon = 1e-6
        return norm

    monkeypatch.setattr(cifar_resnet, "batch_norm", small_epsilon)
    assert error_of("cifar_resnet20", tmp_path) > 0.001


def test_parity_notices_transposed_square_matrices(monkeypatch, tmp_path):
    right = place._leaf

    def leave_squares(array, tensor):
        square = array.ndim == 2 and array.shape[0] == array.shape[1]
        return right(array, replace(tensor, axes=(0, 1)) if square else tensor)

    monkeypatch.setattr(place, "_leaf", leave_squares)
    assert error_of("mlp_gelu", tmp_path) > 0.01


def test_parity_notices_two_swapped_layers(monkeypatch, tmp_path):
    right_order = mlp._layers

    def swapped(shapes):
        first, second, third, last = right_order(shapes)
        return [first, third, second, last]

    monkeypatch.setattr(mlp, "_layers", swapped)
    assert error_of("mlp", tmp_path) > 0.01


def test_parity_notices_tanh_gelu(monkeypatch, tmp_path):
    monkeypatch.setitem(mlp._ACTIVATIONS, "gelu", jax.nn.gelu)
    assert error_of("mlp_gelu", tmp_path) > 5 * TOLERANCE


def test_building_makes_no_weights():
    """Random weights of large networks would cost time and memory for nothing."""
    families = {re.sub(r"\d+", "#", one.name): one for one in reversed(catalog.ARCHITECTURES)}
    for architecture in families.values():
        fitted = fit.fit(architecture, architecture.infer({}), {})
        kinds = {type(leaf) for leaf in jax.tree.leaves(fitted.module)}
        assert kinds == {jax.ShapeDtypeStruct}, architecture.name


def test_answers_do_not_depend_on_the_batch(tmp_path):
    """A network left in training mode would normalise with its batch's statistics."""
    case = golden("digits_cnn")
    write_npz(tmp_path / "weights.npz", case.tensors)
    model = load("digits_cnn", tmp_path / "weights.npz")
    whole = model.apply(model.params, model.buffers, case.inputs)
    single = model.apply(model.params, model.buffers, case.inputs[:1])
    np.testing.assert_allclose(whole[:1], single, rtol=1e-5, atol=1e-6)


class BackToFront(nnx.Module):
    """Its leaves are used in the order w, v, u."""

    def __init__(self, rngs):
        self.u, self.v, self.w = (nnx.Linear(4, 4, rngs=rngs) for _ in range(3))

    def __call__(self, x):
        return self.u(jax.jit(self.v)(self.w(x)))


def test_prunable_leaves_are_in_forward_order():
    """A pytree lists them in alphabetical order."""
    model = Model.from_nnx(BackToFront(nnx.Rngs(0)), (4,))
    assert model.spec.prunable == ("w.kernel", "v.kernel", "u.kernel")


def test_two_loads_share_one_compiled_program(tmp_path):
    write_npz(tmp_path / "weights.npz", golden("mlp_gelu").tensors)
    traces = []

    @jax.jit
    def logits(model, inputs):
        traces.append(1)
        return model.apply(model.params, model.buffers, inputs)

    for _ in range(2):
        logits(load("mlp", tmp_path / "weights.npz", activation="gelu"), jnp.ones((1, 20)))
    assert len(traces) == 1


def prepared(images, preprocessing):
    """Inputs from stored images, written out here as a reference."""
    x = images.astype(np.float32)
    x = x if x.ndim == 4 else x[..., None]
    if preprocessing.resize:
        x = jax.image.resize(x, (len(x), *preprocessing.resize, x.shape[-1]), "bilinear")
    mean, std = jnp.array(preprocessing.mean), jnp.array(preprocessing.std)
    return (x / preprocessing.scale - mean) / std


def num_correct(model, images, labels):
    apply = jax.jit(model.apply)
    batches = range(0, len(images), 500)
    guesses = [
        apply(
            model.params,
            model.buffers,
            prepared(images[start : start + 500], model.spec.preprocessing),
        ).argmax(axis=1)
        for start in batches
    ]
    return int((np.concatenate(guesses) == labels).sum())


@pytest.mark.parametrize(("depth", "correct"), [(20, 463), (32, 474)])
def test_real_resnets_reach_their_known_accuracy(depth, correct):
    weights = requires_shared(f"cifar_resnet{depth}.th")
    data = np.load(requires_shared("cifar10_test.npz"))
    model = load(f"cifar_resnet{depth}", weights)
    assert num_correct(model, data["images"], data["labels"]) == correct


def test_real_lenet5_reaches_its_known_accuracy():
    weights = requires_shared("mnist_lenet5.pt")
    data = np.load(requires_shared("mnist_test.npz"))
    correct = num_correct(load("lenet5", weights), data["images"], data["labels"])
    assert correct == 4931  # of 5000, as PyTorch says


def test_the_demo_network_reaches_its_known_accuracy():
    assets = files("jgaprune.assets")
    with as_file(assets / "digits_cnn.pth") as weights, as_file(assets / "digits_test.npz") as test:
        data = np.load(test)
        correct = num_correct(load("digits_cnn", weights), data["images"], data["labels"])
    assert correct == 538
