"""The convolutional networks of ImageNet: names in the wild, and mistakes that parity notices."""

import jax
import numpy as np
import pytest
from flax import nnx
from golden import error_of, golden, mutant

from jgaprune.converters import ConversionError, guess, load, untrained
from jgaprune.converters.catalog import find_architecture
from jgaprune.converters.formats import write_npz
from jgaprune.converters.models import layers, mobilenet_v2, resnet, squeezenet
from jgaprune.converters.models.architecture import no_flatten
from jgaprune.converters.models.pooling import adaptive_average_pool


@pytest.mark.parametrize("size", [(7, 7), (8, 9), (2, 3), (1, 1), (14, 21), (13, 6)])
def test_adaptive_pooling_averages_over_pytorchs_bins(size):
    """Row i of 7 takes the rows from floor(i H / 7) to ceil((i + 1) H / 7)."""
    x = np.random.RandomState(0).standard_normal((2, *size, 3)).astype(np.float32)
    expected = np.empty((2, 7, 5, 3))
    for i in range(7):
        for j in range(5):
            rows = slice(int(np.floor(i * size[0] / 7)), int(np.ceil((i + 1) * size[0] / 7)))
            columns = slice(int(np.floor(j * size[1] / 5)), int(np.ceil((j + 1) * size[1] / 5)))
            expected[:, i, j] = x[:, rows, columns].astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(adaptive_average_pool(x, 7, 5), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_parity_notices_an_unpermuted_flatten_of_a_vgg(monkeypatch, tmp_path):
    mutant(monkeypatch, "vgg11_bn", flattened=no_flatten)
    assert error_of("vgg11_bn", tmp_path) > 0.01


@pytest.mark.slow
def test_parity_notices_same_padding_of_a_depthwise_convolution(monkeypatch, tmp_path):
    def same(num_in, num_out, size, *, stride=1, padding=0, groups=1, rngs):
        padding = "SAME" if stride == 2 else padding
        options = {"stride": stride, "groups": groups}
        return layers.conv(num_in, num_out, size, padding=padding, rngs=rngs, **options)

    monkeypatch.setattr(mobilenet_v2, "conv", same)
    assert error_of("mobilenet_v2", tmp_path) > 0.001


@pytest.mark.slow
def test_parity_notices_a_relu_without_its_bound(monkeypatch, tmp_path):
    monkeypatch.setattr(mobilenet_v2, "relu6", layers.relu)
    assert error_of("mobilenet_v2", tmp_path) > 0.001


@pytest.mark.slow
def test_parity_notices_flax_epsilon_in_bottlenecks(monkeypatch, tmp_path):
    def small_epsilon(num_channels, rngs):
        norm = layers.batch_norm(num_channels, rngs)
        norm.epsilon = 1e-6
        return norm

    monkeypatch.setattr(resnet, "batch_norm", small_epsilon)
    assert error_of("resnet50", tmp_path) > 0.001


@pytest.mark.slow
def test_parity_notices_two_swapped_bottlenecks(monkeypatch, tmp_path):
    one, two = "layer1.1.conv2.weight", "layer1.2.conv2.weight"
    mutant(monkeypatch, "resnet50", renamed=lambda shapes: {one: two, two: one})
    assert error_of("resnet50", tmp_path) > 0.001


@pytest.mark.slow
def test_parity_notices_pools_that_drop_the_far_edge(monkeypatch, tmp_path):
    def cut(x):
        return nnx.max_pool(x, (3, 3), strides=(2, 2))

    monkeypatch.setattr(squeezenet, "pool", cut)
    assert error_of("squeezenet1_1", tmp_path) > 0.001


def of_shapes(tensors):
    """The same names and shapes; no values, so that nothing else can tell."""
    return {name: np.broadcast_to(np.float32(0), a.shape) for name, a in tensors.items()}


def with_classes(tensors, last, num_classes):
    changed = dict(tensors)
    for kind in ("weight", "bias"):
        shape = (num_classes, *tensors[f"{last}.{kind}"].shape[1:])
        changed[f"{last}.{kind}"] = np.zeros(shape, np.float32)
    return changed


HEADS = {
    "resnet50": "fc",
    "vgg11_bn": "classifier.6",
    "cifar_vgg11_bn": "classifier",
    "cifar_vgg16_bn": "classifier.6",
    "mobilenet_v2": "classifier.1",
    "squeezenet1_1": "classifier.1",
}


@pytest.mark.parametrize("name", HEADS)
def test_wrapped_files_with_other_classes_are_recognised_by_shapes(name):
    tensors = of_shapes(with_classes(golden(name).tensors, HEADS[name], 13))
    arch, config = guess({"module." + tensor: array for tensor, array in tensors.items()})
    assert arch == name
    assert config["num_classes"] == 13


def as_trained_on_several_gpus(name):
    return name.replace("features.", "features.module.")


def as_with_dropout_first(name):
    for ours, theirs in (("classifier.0.", "classifier.1."), ("classifier.3.", "classifier.4.")):
        if name.startswith(ours):
            return name.replace(ours, theirs)
    return name


@pytest.mark.parametrize("rename", [as_trained_on_several_gpus, as_with_dropout_first])
def test_other_names_of_a_vgg_load_the_same_weights(rename, tmp_path):
    tensors = golden("cifar_vgg16_bn").tensors
    write_npz(tmp_path / "plain.npz", tensors)
    write_npz(tmp_path / "other.npz", {rename(name): array for name, array in tensors.items()})
    plain, other = (load("auto", tmp_path / f"{kind}.npz") for kind in ("plain", "other"))
    assert plain.spec.name == other.spec.name == "cifar_vgg16_bn"
    assert {tensor.name for _, tensor in other.spec.tensors} <= {rename(name) for name in tensors}
    for name, leaf in {**plain.params, **plain.buffers}.items():
        np.testing.assert_array_equal(leaf, {**other.params, **other.buffers}[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "num_weights", "config"),
    [
        ("resnet18", 11_689_512, {}),
        ("resnet34", 21_797_672, {}),
        ("resnet50", 25_557_032, {}),
        ("resnet50", 25_028_904, {"middle": 128, "groups": 32}),
        ("vgg11_bn", 132_868_840, {}),
        ("vgg16_bn", 138_365_992, {}),
        ("mobilenet_v2", 3_504_872, {}),
        ("squeezenet1_1", 1_235_496, {}),
    ],
)
def test_networks_have_as_many_parameters_as_torchvisions(arch, num_weights, config):
    """Its documentation says how many; ResNeXt-50 32x4d is a ResNet-50 in groups."""
    found = find_architecture(arch)
    module = nnx.eval_shape(lambda: found.build(found.infer({}) | config, nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(module, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == num_weights


@pytest.mark.parametrize(
    ("arch", "config", "words"),
    [
        ("resnet50", {"groups": 5}, "groups must divide middle, got 5 and 64"),
        ("mobilenet_v2", {"widths": (8, 8)}, "must be 9 numbers such as"),
        ("squeezenet1_1", {"squeezed": (8,)}, "squeezed must be 8 numbers such as"),
        ("vgg11_bn", {"widths": (8,), "hidden": (3,)}, "widths must be 8 numbers.*hidden must be"),
    ],
)
def test_impossible_sizes_are_refused(arch, config, words):
    with pytest.raises(ConversionError, match=words):
        untrained(arch, **config)
