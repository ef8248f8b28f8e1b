"""Loading: names, prefixes, dtypes and layouts of files, and errors that list everything."""

import re

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from data_paths import requires_shared
from golden import NAMES, golden, relative_error

from jgaprune.converters import ConversionError, assumed_arguments, guess, list_models, load
from jgaprune.converters.formats import write_npz, write_safetensors
from jgaprune.model import Preprocessing


@pytest.fixture
def digits():
    return golden("digits_cnn").tensors


def loaded(tensors, folder, arch="auto", **config):
    write_safetensors(folder / "weights.safetensors", tensors)
    return load(arch, folder / "weights.safetensors", **config)


def assert_same_weights(one, other):
    for left, right in ((one.params, other.params), (one.buffers, other.buffers)):
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_every_architecture_has_a_golden_case_or_a_sibling():
    tested = {golden(name).arch for name in NAMES}
    families = {family(name) for name in tested} | {"llama"}  # see test_llama
    families |= {"bert", "gpt#", "vit"}  # see test_parity
    assert {family(name) for name in list_models()} == families


def family(name):
    return re.sub(r"\d+", "#", name)


def test_list_models_filters_by_pattern():
    assert list_models("paper_*") == ["paper_cifar10", "paper_mnist"]
    assert {"resnet50", "cifar_resnet20"} <= set(list_models("*resnet*")) < set(list_models())
    assert list_models("nothing*") == []


@pytest.mark.parametrize("name", NAMES)
def test_auto_recognises_each_architecture(name):
    case = golden(name)
    arch, config = guess(case.tensors)
    assert arch == case.arch
    if name == "mlp":
        assert config["widths"] == (784, 256, 256, 256, 10)


def test_the_spec_records_source_config_and_every_leaf(digits, tmp_path):
    model = loaded(digits, tmp_path)
    spec = model.spec
    assert spec.name == "digits_cnn"
    assert spec.input_shape == (8, 8, 1)
    assert spec.num_outputs == 10
    assert dict(spec.config) == {"num_classes": 10, "widths": (32, 32, 64, 64, 64)}
    assert spec.prunable == tuple(f"conv{i}.kernel" for i in range(1, 6)) + ("linear.kernel",)
    assert spec.norms == ("bn1", "bn2", "bn3", "bn4", "bn5")
    assert spec.source.path == str((tmp_path / "weights.safetensors").resolve())
    assert spec.source.format == "safetensors"
    assert {leaf for leaf, _ in spec.tensors} == {*model.params, *model.buffers}
    kernel = dict(spec.tensors)["conv2.kernel"]
    assert (kernel.name, kernel.shape, kernel.dtype) == ("conv2.weight", (32, 32, 3, 3), "float32")
    hash(spec)


def test_prunable_is_in_forward_order(tmp_path):
    model = loaded(golden("cifar_resnet20").tensors, tmp_path)
    stages = [
        f"layer{stage}.{block}.conv{i}.kernel"
        for stage in (1, 2, 3)
        for block in range(3)
        for i in (1, 2)
    ]
    assert model.spec.prunable == ("conv1.kernel", *stages, "linear.kernel")


def test_preprocessing_is_the_checkpoints_or_the_callers(digits, tmp_path):
    model = loaded(digits, tmp_path)
    assert model.spec.preprocessing == Preprocessing(mean=(0.3056,), std=(0.376,))
    mine = Preprocessing(mean=(0.1,), std=(0.2,), scale=1.0)
    assert loaded(digits, tmp_path, preprocessing=mine).spec.preprocessing == mine


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_wrapper_prefixes_are_removed_but_remembered(prefix, digits, tmp_path):
    plain = loaded(digits, tmp_path)
    wrapped = loaded({prefix + name: a for name, a in digits.items()}, tmp_path)
    assert_same_weights(plain, wrapped)
    assert dict(wrapped.spec.tensors)["linear.bias"].name == prefix + "linear.bias"


@pytest.mark.parametrize(
    "names",
    [("fc.kernel", "fc.weight"), ("a/w", "a.w"), ("norm.scale", "norm.kernel", "norm.weight")],
)
def test_no_tensor_vanishes_when_names_clash(names, tmp_path):
    for order in (names, names[::-1]):
        tensors = {name: np.full((3, 3), i, np.float32) for i, name in enumerate(order)}
        write_npz(tmp_path / "w.npz", tensors)
        for arch in ("auto", "mlp"):
            with pytest.raises(ConversionError, match=" and ".join(order)):
                load(arch, tmp_path / "w.npz")


def test_a_prefix_of_some_names_only_is_a_fault(digits, tmp_path):
    digits["module.linear.bias"] = digits.pop("linear.bias")
    with pytest.raises(ConversionError, match="missing .1.:\n  linear.bias .10. .nearest in the"):
        loaded(digits, tmp_path, "digits_cnn")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_are_computed_in_float32(dtype, digits, tmp_path):
    cast = {n: a.astype(dtype) if a.dtype == np.float32 else a for n, a in digits.items()}
    model = loaded(cast, tmp_path)
    assert {leaf.dtype for leaf in model.params.values()} == {jnp.float32.dtype}
    assert dict(model.spec.tensors)["conv1.kernel"].dtype == np.dtype(dtype).name
    expected = cast["linear.weight"].astype(np.float32).T
    np.testing.assert_array_equal(model.params["linear.kernel"], expected)


def test_weights_that_are_no_numbers_are_listed_together(digits, tmp_path):
    digits["conv1.weight"].flat[:3] = [np.nan, np.inf, -np.inf]
    digits["bn2.running_var"][5] = np.inf
    with pytest.raises(ConversionError) as caught:
        loaded(digits, tmp_path)
    assert "3 of 288 values of conv1.weight are NaN or infinite" in str(caught.value)
    assert "1 of 32 values of bn2.running_var are NaN or infinite" in str(caught.value)
    assert str(tmp_path / "weights.safetensors") in str(caught.value)


def test_numbers_beyond_float32_are_refused(digits, tmp_path):
    digits["linear.bias"] = np.full(10, 1e39)
    with pytest.raises(ConversionError, match="10 of 10 values of linear.bias"):
        loaded(digits, tmp_path)


def own_leaves(model):
    return {"params": dict(model.params), "buffers": dict(model.buffers)}


@pytest.mark.parametrize("name", ["digits_cnn", "paper_mnist", "mlp"])
@pytest.mark.parametrize("joined", [True, False])
def test_our_own_leaf_names_load_unchanged(name, joined, tmp_path):
    model = loaded(golden(name).tensors, tmp_path)
    prefixes = {"params": "params.", "buffers": "buffers."} if joined else {}
    leaves = {
        prefixes.get(kind, "") + leaf: np.asarray(array)
        for kind, group in own_leaves(model).items()
        for leaf, array in group.items()
    }
    write_npz(tmp_path / "leaves.npz", leaves)
    again = load("auto", tmp_path / "leaves.npz")
    assert_same_weights(model, again)
    assert again.spec.prunable == model.spec.prunable


def test_our_own_orbax_folder_loads_unchanged(digits, tmp_path):
    model = loaded(digits, tmp_path)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "params", own_leaves(model))
    again = load("digits_cnn", tmp_path / "params")
    assert_same_weights(model, again)
    assert again.spec.source.format == "orbax"


def test_other_class_counts_are_read_off_the_file(digits, tmp_path):
    digits["linear.weight"] = np.ones((100, 64), np.float32)
    digits["linear.bias"] = np.ones(100, np.float32)
    assert loaded(digits, tmp_path, "digits_cnn").spec.num_outputs == 100


def test_a_second_name_of_a_tensor_is_no_fault(digits, tmp_path):
    digits["head.weight"] = digits["linear.weight"].copy()
    model = loaded(digits, tmp_path)
    names = [tensor.name for leaf, tensor in model.spec.tensors if leaf == "linear.kernel"]
    assert names == ["head.weight", "linear.weight"]


def test_equal_vectors_are_not_taken_for_second_names(digits, tmp_path):
    digits["head.bias"] = digits["linear.bias"].copy()
    with pytest.raises(ConversionError, match="0 missing, 1 unexpected"):
        loaded(digits, tmp_path, "digits_cnn")


def test_all_faults_are_in_one_message(digits, tmp_path):
    digits["conv9.weight"] = digits.pop("conv2.weight") + 1
    digits.pop("bn5.bias")
    digits["bn1.running_mean"] = np.ones(7, np.float32)
    digits["conv4.weight"] = np.ones((64, 64, 3, 3), np.int8)
    digits["extra"] = np.ones(3, np.float32)
    with pytest.raises(ConversionError) as caught:
        loaded(digits, tmp_path, "digits_cnn")
    message = str(caught.value)
    assert "does not fit digits_cnn: 2 missing, 2 unexpected, 2 unsuitable tensors" in message
    assert (
        "conv2.weight [32, 32, 3, 3] (nearest in the file: conv9.weight [32, 32, 3, 3])" in message
    )
    assert "\n  bn5.bias [64]\n" in message
    assert "bn1.running_mean: expected float [32], got float32 [7]" in message
    assert "conv4.weight: expected float [64, 64, 3, 3], got int8 [64, 64, 3, 3]" in message
    assert "\n  extra [3]\n" in message
    assert "No known architecture fits" in message


def test_the_wrong_architecture_names_the_right_one(tmp_path):
    with pytest.raises(
        ConversionError, match='The file fits "cifar_resnet20": load that'
    ) as caught:
        loaded(golden("cifar_resnet20").tensors, tmp_path, "cifar_resnet32")
    assert "60 missing, 0 unexpected, 0 unsuitable" in str(caught.value)


def test_an_unknown_architecture_gets_the_nearest_names(digits, tmp_path):
    with pytest.raises(ConversionError, match="'digits'. Nearest: digits_cnn. Known: bert, cifar_"):
        loaded(digits, tmp_path, "digits")


def test_an_unrecognised_file_lists_what_was_tried(digits):
    digits["conv1.weight"] = np.ones((32, 3, 3, 3), np.float32)
    with pytest.raises(ConversionError) as caught:
        guess(digits)
    first, second, third, *_ = str(caught.value).splitlines()
    assert first.startswith("no known architecture fits these")
    assert second == "  digits_cnn: 0 missing, 0 unexpected, 1 unsuitable"
    assert all(re.search(rf"\b{name}\b", str(caught.value)) for name in list_models())
    assert "conv1.weight [32, 3, 3, 3]" in str(caught.value)


def test_arguments_are_checked_together(digits, tmp_path):
    with pytest.raises(ConversionError) as caught:
        loaded(digits, tmp_path, "digits_cnn", width=3, num_classes="ten")
    assert "there is no 'width'. Nearest: widths." in str(caught.value)
    assert "num_classes must be a int such as 10, got 'ten'." in str(caught.value)


@pytest.mark.parametrize(
    ("arch", "argument", "words"),
    [
        ("digits_cnn", {"num_classes": 0}, "num_classes must be a positive int, got 0"),
        ("digits_cnn", {"num_classes": -1}, "must be a positive int, got -1"),
        ("digits_cnn", {"widths": (8, 8, 8, 8, 0)}, "widths must be a tuple of positive ints"),
        ("mlp", {"widths": (64, "8", 10)}, "widths must be a tuple of positive ints, got .64, '8'"),
        ("mlp", {"input_shape": (5.0,)}, "input_shape must be a tuple of positive ints"),
        ("mlp", {"input_shape": (True,)}, "input_shape must be a tuple of positive ints"),
    ],
)
def test_sizes_must_be_positive(arch, argument, words, digits, tmp_path):
    with pytest.raises(ConversionError, match=words):
        loaded(digits, tmp_path, arch, **argument)


@pytest.mark.parametrize("shape", [(0, 64), (10, 0), (0, 0)])
def test_tensors_without_values_are_no_layers(shape, digits, tmp_path):
    digits["linear.weight"] = np.ones(shape, np.float32)
    with pytest.raises(ConversionError, match="no known architecture fits"):
        guess(digits)
    with pytest.raises(ConversionError, match="expected float .10, 64., got float32 .*0"):
        loaded(digits, tmp_path, "digits_cnn")
    with pytest.raises(ConversionError, match="0 missing, 1 unexpected|2 missing"):
        loaded(
            {"a.weight": np.ones((3, 2), "f4"), "b.weight": np.ones(shape, "f4")}, tmp_path, "mlp"
        )


def test_a_contradicting_argument_is_to_be_left_out(digits, tmp_path):
    with pytest.raises(ConversionError, match='fits "digits_cnn" if you leave out: num_classes.$'):
        loaded(digits, tmp_path, "digits_cnn", num_classes=7)
    write_npz(tmp_path / "w.npz", layers((8, 12), (3, 8), names="ab", bias=False))
    with pytest.raises(ConversionError, match='fits "mlp" if you leave out: bias.$'):
        load("mlp", tmp_path / "w.npz", bias=True, activation="tanh")


def test_arguments_that_no_file_tells_are_named(tmp_path):
    """Files of networks that differ in them look the same."""
    write_npz(tmp_path / "w.npz", layers((8, 12), (3, 8), names="ab"))
    _, config = guess(layers((8, 12), (3, 8), names="ab"))
    other = {"activation": "tanh", "input_shape": (2, 2, 3)}
    assert set(assumed_arguments("mlp")) == set(other) < set(config)
    assert dict(load("mlp", tmp_path / "w.npz", **other).spec.config) == config | other
    assert assumed_arguments("digits_cnn") == ()
    with pytest.raises(ConversionError, match="unknown architecture"):
        assumed_arguments("auto")


def test_given_arguments_that_contradict_the_file_are_faults(digits, tmp_path):
    with pytest.raises(
        ConversionError, match=r"linear.bias: expected float \[7\], got float32 \[10\]"
    ):
        loaded(digits, tmp_path, "digits_cnn", num_classes=7)
    with pytest.raises(ConversionError, match="must be five numbers"):
        loaded(digits, tmp_path, "digits_cnn", widths=[8, 8])


def layers(*shapes, names, bias=True):
    tensors: dict[str, np.ndarray] = {}
    for name, shape in zip(names, shapes, strict=True):
        tensors[f"{name}.weight"] = np.random.RandomState(len(tensors)).rand(*shape).astype("f4")
        if bias:
            tensors[f"{name}.bias"] = np.ones(shape[0], np.float32)
    return tensors


@pytest.mark.parametrize(
    "names",
    [
        ("net.0", "net.2", "net.10", "out"),
        ("fc1", "fc2", "fc10", "out"),
        ("input", "encoder", "hidden", "output"),
    ],
)
def test_mlp_layers_may_have_any_names(names, tmp_path):
    tensors = layers((8, 5), (8, 8), (8, 8), (3, 8), names=names)
    write_npz(tmp_path / "weights.npz", tensors)
    model = load("mlp", tmp_path / "weights.npz")
    for index, name in enumerate(names):
        leaf = model.params[f"layers.{index}.kernel"]
        np.testing.assert_array_equal(leaf, tensors[f"{name}.weight"].T)
    assert dict(model.spec.config)["widths"] == (5, 8, 8, 8, 3)


@pytest.mark.parametrize(
    "names",
    [("net.0", "net.2", "net.10", "net.12"), ("stem", "block.2", "block.10", "head")],
)
def test_mlp_layers_sorted_as_text_get_their_order_back(names, tmp_path):
    """Sorted as text, 10 comes before 2, and no shape tells: all layers are square."""
    tensors = layers(*[(8, 8)] * 4, names=names)
    second, third = (f"{name}.weight" for name in names[1:3])
    tensors[second], tensors[third] = tensors[third], tensors[second]
    in_text_order = {second: third, third: second}
    write_npz(tmp_path / "w.npz", {in_text_order.get(n, n): a for n, a in tensors.items()})
    sources = dict(load("mlp", tmp_path / "w.npz").spec.tensors)
    assert [sources[f"layers.{i}.kernel"].name for i in range(4)] == [f"{n}.weight" for n in names]


def test_mlp_layers_keep_the_order_of_a_safetensors_file(tmp_path):
    """The library returns tensors in a random order; square layers would be shuffled."""
    names = [f"layer_{letter}" for letter in "abcdefgh"]
    model = loaded(layers(*[(8, 8)] * 8, names=names), tmp_path, "mlp")
    sources = dict(model.spec.tensors)
    assert [sources[f"layers.{i}.kernel"].name for i in range(8)] == [f"{n}.weight" for n in names]


def test_mlp_arguments_are_read_off_or_checked(tmp_path):
    write_npz(tmp_path / "w.npz", layers((8, 12), (3, 8), names="ab", bias=False))
    model = load("mlp", tmp_path / "w.npz")
    assert dict(model.spec.config)["bias"] is False
    assert model.spec.input_shape == (12,)
    image = load("mlp", tmp_path / "w.npz", input_shape=[2, 2, 3])
    assert image.spec.input_shape == (2, 2, 3)
    with pytest.raises(
        ConversionError, match="input_shape .2, 2. does not have 12 values"
    ) as caught:
        load("mlp", tmp_path / "w.npz", input_shape=(2, 2), activation="swish")
    assert "activation must be one of relu" in str(caught.value)
    with pytest.raises(ConversionError, match="2 missing"):
        load("mlp", tmp_path / "w.npz", bias=True)


def test_a_mutated_weight_changes_the_answer(digits, tmp_path):
    """The golden comparison sees a single changed weight of the first layer."""
    case = golden("digits_cnn")
    digits["conv1.weight"][0, 0, 0, 0] += 0.01
    model = loaded(digits, tmp_path)
    assert relative_error(model.apply(model.params, model.buffers, case.inputs), case.logits) > 1e-4


def test_real_checkpoints_are_recognised():
    for file, arch in (("cifar_resnet32.th", "cifar_resnet32"), ("mnist_lenet5.pt", "lenet5")):
        assert load("auto", requires_shared(file)).spec.name == arch
