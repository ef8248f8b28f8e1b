"""Back to the source: bit-identical where nothing changed, and masks in its layouts."""

from dataclasses import replace
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from data_paths import requires_shared
from flax import nnx
from golden import NAMES, golden

from jgaprune.converters import (
    ConversionError,
    load,
    masks_from_source,
    masks_to_source,
    pack_masks,
    to_source,
    unpack_masks,
)
from jgaprune.converters.formats import FormatError, read, write_npz, write_safetensors
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.report.weights import write_weights


@pytest.fixture
def digits(tmp_path):
    """The demo's network with a `module.` prefix, from a safetensors file."""
    tensors = {"module." + name: a for name, a in golden("digits_cnn").tensors.items()}
    write_safetensors(tmp_path / "weights.safetensors", tensors)
    return load("auto", tmp_path / "weights.safetensors")


def random_masks(model):
    random = np.random.RandomState(0)
    return {name: random.rand(*model.params[name].shape) < 0.5 for name in model.spec.prunable}


def assert_identical(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype, name
        assert array.shape == expected[name].shape, name
        assert array.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("name", NAMES)
def test_an_unpruned_round_trip_is_bit_identical(name, tmp_path):
    case = golden(name)
    write_npz(tmp_path / "weights.npz", case.tensors)
    model = load(case.arch, tmp_path / "weights.npz", **case.config)
    assert_identical(to_source(model, model.params, model.buffers), case.tensors)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_dtypes_come_back_bit_identical(dtype, tmp_path):
    """float64 too: what float32 can't hold is taken from the source where it is unchanged."""
    tensors = golden("mlp_gelu").tensors
    cast = {n: (array.astype(np.float64) * np.pi).astype(dtype) for n, array in tensors.items()}
    write_safetensors(tmp_path / "weights.safetensors", cast)
    model = load("mlp", tmp_path / "weights.safetensors")
    source = read(tmp_path / "weights.safetensors").tensors
    assert source.keys() == cast.keys()
    assert_identical(to_source(model, model.params, model.buffers), source)


def test_real_checkpoints_come_back_bit_identical():
    for file in ("cifar_resnet20.th", "cifar_resnet32.th", "mnist_lenet5.pt"):
        path = requires_shared(file)
        model = load("auto", path)
        assert_identical(to_source(model, model.params, model.buffers), read(path).tensors)


def test_counters_are_copied_from_the_source(digits):
    exported = to_source(digits, digits.params, digits.buffers)
    expected = golden("digits_cnn").tensors["bn3.num_batches_tracked"]
    assert exported["module.bn3.num_batches_tracked"] == expected


@pytest.mark.parametrize("name", ["digits_cnn", "paper_mnist", "mlp", "mlp_on_colour_images"])
def test_pruned_weights_are_zero_where_the_exported_masks_say(name, tmp_path):
    """The masks' way back is the weights' way back, through convolutions and flattens."""
    case = golden(name)
    write_npz(tmp_path / "weights.npz", case.tensors)
    model = load(case.arch, tmp_path / "weights.npz", **case.config)
    masks = random_masks(model)
    exported = to_source(model, apply_masks(model.params, masks), model.buffers)
    masks = masks_to_source(model, masks)
    assert len(masks) == len(model.spec.prunable)
    for tensor, weights in case.tensors.items():
        expected = np.where(masks[tensor], weights, 0) if tensor in masks else weights
        np.testing.assert_array_equal(exported[tensor], expected, err_msg=tensor)


def test_an_exported_model_loads_with_the_same_answers(digits, tmp_path):
    masked = apply_masks(digits.params, random_masks(digits))
    shifted = {name: leaf + 0.5 for name, leaf in digits.buffers.items()}
    write_npz(tmp_path / "pruned.npz", to_source(digits, masked, shifted))
    again = load("auto", tmp_path / "pruned.npz")
    for name, leaf in {**masked, **shifted}.items():
        np.testing.assert_array_equal({**again.params, **again.buffers}[name], leaf)


def test_second_names_of_a_tensor_are_pruned_with_it(tmp_path):
    tensors = golden("digits_cnn").tensors
    tensors["head.weight"] = tensors["linear.weight"].copy()
    write_npz(tmp_path / "weights.npz", tensors)
    model = load("digits_cnn", tmp_path / "weights.npz")
    masks = random_masks(model)
    exported = to_source(model, apply_masks(model.params, masks), model.buffers)
    np.testing.assert_array_equal(exported["head.weight"], exported["linear.weight"])
    assert (exported["head.weight"] == 0).any()
    there = masks_to_source(model, masks)
    np.testing.assert_array_equal(there["head.weight"], there["linear.weight"])
    again = masks_from_source(model, there)
    assert list(again) == list(model.spec.prunable)
    for name, mask in again.items():
        np.testing.assert_array_equal(mask, masks[name])
    there["head.weight"] = ~there["head.weight"]
    with pytest.raises(ConversionError, match="equal masks, .*: head.weight and linear.weight"):
        masks_from_source(model, there)


def test_a_source_that_is_gone_or_changed_is_refused(digits, tmp_path):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"other": np.ones(3, np.float32)})
    with pytest.raises(ConversionError, match="has changed since it was loaded"):
        to_source(digits, digits.params, digits.buffers)
    path.unlink()
    with pytest.raises(ConversionError, match="is gone"):
        to_source(digits, digits.params, digits.buffers)


def written(model, folder):
    """Warnings of writing a run of `model` that pruned nothing."""
    folder.mkdir()
    masks = {name: np.ones(model.params[name].shape, bool) for name in model.spec.prunable}
    run = SimpleNamespace(model=model, masks=masks, params=model.params, buffers=model.buffers)
    warnings = write_weights(run, folder)
    assert {"masks.npz", "params"} <= {path.name for path in folder.iterdir()}
    return warnings


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more"])
def test_a_source_overwritten_by_anything_costs_no_run(digits, tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ConversionError, match="could be read when the model was loaded"):
        to_source(digits, digits.params, digits.buffers)
    (warning,) = written(digits, tmp_path / "run")
    assert "pruned.safetensors was not written" in warning


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long doubles are float64 here")
def test_a_type_that_cannot_be_written_costs_no_run(tmp_path):
    wide = {n: array.astype(np.longdouble) for n, array in golden("mlp_gelu").tensors.items()}
    write_npz(tmp_path / "weights.npz", wide)
    (warning,) = written(load("mlp", tmp_path / "weights.npz"), tmp_path / "run")
    assert "pruned.safetensors was not written: .safetensors can't store" in warning


def test_a_failed_pth_is_a_warning_of_its_own(digits, tmp_path, monkeypatch):
    def refuse(path, tensors):
        raise FormatError("torch can't")

    source = replace(digits.spec.source, format="pth")
    digits = digits._replace(spec=replace(digits.spec, source=source))
    monkeypatch.setattr("jgaprune.report.weights.torch_available", lambda: True)
    monkeypatch.setattr("jgaprune.report.weights.write_pth", refuse)
    assert written(digits, tmp_path / "run") == ("pruned.pth was not written: torch can't",)
    assert (tmp_path / "run" / "pruned.safetensors").exists()


@pytest.mark.parametrize("writer", ["write_safetensors", "write_pth"])
def test_a_full_disk_is_no_warning(digits, tmp_path, monkeypatch, writer):
    def no_space(path, tensors):
        raise FormatError("can't be written") from OSError(28, "No space left on device")

    source = replace(digits.spec.source, format="pth")
    digits = digits._replace(spec=replace(digits.spec, source=source))
    monkeypatch.setattr("jgaprune.report.weights.torch_available", lambda: True)
    monkeypatch.setattr(f"jgaprune.report.weights.{writer}", no_space)
    with pytest.raises(FormatError, match="can't be written"):
        written(digits, tmp_path / "run")


def test_values_too_large_for_the_source_are_refused(tmp_path):
    tensors = {n: a.astype(np.float16) for n, a in golden("mlp_gelu").tensors.items()}
    write_npz(tmp_path / "weights.npz", tensors)
    model = load("mlp", tmp_path / "weights.npz")
    params = {name: leaf + 1e5 for name, leaf in model.params.items()}
    with pytest.raises(ConversionError, match="too large for the source's float16"):
        to_source(model, params, model.buffers)


def test_wrong_leaves_are_listed_together(digits):
    params = dict(digits.params)
    del params["conv1.kernel"]
    params["linear.bias"] = params["linear.bias"][:3]
    with pytest.raises(ConversionError) as caught:
        to_source(digits, params, digits.buffers)
    assert "2 faults" in str(caught.value)
    assert "no array for conv1.kernel" in str(caught.value)
    assert "linear.bias: expected [10], got [3]" in str(caught.value)
    with pytest.raises(ConversionError, match="conv7.kernel: the model has no such weights"):
        masks_to_source(digits, {"conv7.kernel": np.ones(3, bool)})


def test_masks_return_to_the_leaves(digits, tmp_path):
    masks = random_masks(digits)
    write_npz(tmp_path / "masks.npz", pack_masks(masks_to_source(digits, masks)))
    again = masks_from_source(digits, unpack_masks(read(tmp_path / "masks.npz").tensors))
    assert list(again) == list(digits.spec.prunable)
    for name, mask in again.items():
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, masks[name])


def test_masks_of_another_model_are_refused(digits):
    masks = masks_to_source(digits, random_masks(digits))
    masks["conv1.weight"] = masks.pop("module.conv1.weight")
    with pytest.raises(ConversionError, match="2 faults"):
        masks_from_source(digits, masks)


def test_the_masks_file_has_one_documented_bit_per_weight():
    mask = np.zeros((3, 5), bool)
    mask[0, 1] = mask[2, 4] = True
    packed = pack_masks({"w": mask})
    assert packed["w"].tolist() == [0b10, 0b1000000]
    assert packed["w.shape"].dtype == np.int64
    np.testing.assert_array_equal(unpack_masks(packed)["w"], mask)


@pytest.mark.parametrize(
    "packed",
    [
        {"w": np.zeros(2, np.uint8)},
        {"w": np.zeros(3, np.uint8), "w.shape": np.array([3, 5])},
        {"w": np.zeros(2, np.int64), "w.shape": np.array([3, 5])},
    ],
)
def test_files_that_hold_no_masks_are_refused(packed):
    with pytest.raises(ConversionError, match="Is this a masks file"):
        unpack_masks(packed)


def test_models_without_a_source_keep_leaf_names():
    model = Model.from_nnx(nnx.Linear(4, 2, rngs=nnx.Rngs(0)), (4,))
    assert_identical(
        to_source(model, model.params, model.buffers),
        {name: np.asarray(leaf) for name, leaf in model.params.items()},
    )
    masks = random_masks(model)
    there = masks_to_source(model, masks)
    np.testing.assert_array_equal(there["kernel"], masks["kernel"])
    np.testing.assert_array_equal(masks_from_source(model, there)["kernel"], masks["kernel"])
