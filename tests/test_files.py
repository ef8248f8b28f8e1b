"""Inputs from files: what is accepted, what it becomes, and that bad files are explained."""

import os
import pickle
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.inputs.images import prepare
from jgaprune.model import ModelSpec, Preprocessing

COLOUR = ModelSpec(
    name="colour",
    prunable=("w",),
    input_shape=(6, 4, 3),
    num_outputs=5,
    preprocessing=Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.4)),
)
GREY = ModelSpec(
    name="grey",
    prunable=("w",),
    input_shape=(8, 8, 1),
    num_outputs=10,
    preprocessing=Preprocessing(mean=(0.1,), std=(0.3,)),
)
RESIZED = ModelSpec(
    name="resized",
    prunable=("w",),
    input_shape=(8, 9, 1),
    num_outputs=10,
    preprocessing=Preprocessing(resize=(8, 9)),
)
FLAT = ModelSpec(
    name="flat",
    prunable=("w",),
    input_shape=(64,),
    num_outputs=10,
    preprocessing=Preprocessing(mean=(0.5,), std=(0.5,)),
)


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def bilinear(image, height, width):
    """Half-pixel bilinear interpolation of `[H, W]`, one output pixel after the other."""
    out = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y = np.clip((row + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
            x = np.clip((column + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
            above = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
            below = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
            out[row, column] = above * (1 - y + top) + below * (y - top)
    return out


class Trap:
    """Its pickle makes a folder when it is executed."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_images_are_scaled_and_normalised_per_channel():
    images = random_images(3, 6, 4, 3)
    expected = (images / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.1, 0.4]
    inputs = prepare(images, COLOUR)
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-6)


def test_given_mean_and_std_replace_the_models():
    images = random_images(2, 6, 4, 3)
    expected = (images / 255 - [0, 1, 2]) / 2
    inputs = prepare(images, COLOUR, mean=[0, 1, 2], std=[2])
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-6)


def test_grey_images_may_leave_out_the_channel_axis():
    images = random_images(3, 8, 8)
    np.testing.assert_array_equal(prepare(images, GREY), prepare(images[..., None], GREY))


def test_images_are_flattened_for_a_model_of_flat_inputs():
    images = random_images(3, 8, 8)
    expected = (images.reshape(3, 64) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(prepare(images, FLAT), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        prepare(images.reshape(3, 64), FLAT), prepare(images[..., None], FLAT)
    )


def test_colour_images_are_never_flattened_by_guess():
    with pytest.raises(ValueError, match="--arch-config input_shape"):
        prepare(random_images(3, 4, 4, 4), FLAT)
    with pytest.raises(ValueError, match="input_shape"):
        prepare(random_images(3, 4, 4, 4).astype(np.float32), FLAT)


@pytest.mark.parametrize("shape", [(7, 5), (3, 9), (8, 9), (8, 4)])
def test_images_are_resized_bilinearly(shape):
    images = random_images(2, *shape)
    expected = np.stack([bilinear(image / 255, 8, 9) for image in images])[..., None]
    np.testing.assert_allclose(prepare(images, RESIZED), expected, rtol=1e-5, atol=1e-6)


def test_float_arrays_are_taken_as_they_are(tmp_path):
    ready = np.random.default_rng(0).normal(size=(4, 6, 4, 3))
    np.save(tmp_path / "x.npy", ready)
    expected = ready.astype(np.float32)
    np.testing.assert_array_equal(read_inputs(tmp_path / "x.npy", COLOUR), expected)
    np.testing.assert_array_equal(read_inputs(jnp.asarray(expected), COLOUR), expected)


@pytest.mark.parametrize("names", [["images"], ["pictures"], ["labels", "x"], ["x", "images"]])
def test_the_images_of_an_archive_are_found(tmp_path, names):
    arrays = {name: np.zeros(3, np.int32) for name in names}
    key = "images" if "images" in names else names[-1]
    arrays[key] = random_images(3, 8, 8)
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    np.testing.assert_array_equal(
        read_inputs(str(tmp_path / "x.npz"), GREY), prepare(arrays[key], GREY)
    )


def test_evaluation_data_has_inputs_and_labels(tmp_path):
    images, labels = random_images(4, 8, 8), np.array([0, 9, 3, 1], np.int64)
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    inputs, read = read_evaluation_data(tmp_path / "d.npz", GREY)
    np.testing.assert_array_equal(inputs, prepare(images, GREY))
    np.testing.assert_array_equal(read, labels)
    assert read.dtype == np.int32


SHAPES = {
    "size": (random_images(2, 7, 4, 3), "(2, 7, 4, 3); expected (N, 6, 4, 3)"),
    "channels first": (random_images(2, 3, 6, 4), "images.transpose(0, 2, 3, 1)"),
    "grey for colour": (random_images(2, 6, 4), "expected (N, 6, 4, 3)"),
    "one image": (random_images(6, 4, 3), "images[None]"),
    "scalar": (np.uint8(3), "images have shape ()"),
    "float of another shape": (np.zeros((2, 5, 4, 3), np.float32), "expected (N, 6, 4, 3)"),
    "no images": (random_images(0, 6, 4, 3), "there are no images"),
    "int64": (random_images(2, 6, 4, 3).astype(np.int64), "dtype int64; expected uint8"),
    "text": (np.array(["a", "b"]), "dtype <U1; expected uint8"),
    "complex": (np.zeros((2, 6, 4, 3), np.complex64), "dtype complex64; expected uint8"),
    "bool": (np.zeros((2, 6, 4, 3), bool), "dtype bool; expected uint8"),
    "NaN": (np.full((2, 6, 4, 3), np.nan, np.float32), "144 of 144 values are NaN or infinite"),
    "stored images as floats": (
        random_images(2, 6, 4, 3).astype(np.float32),
        "whole numbers up to 2",
    ),
    "too large": (np.full((1, 6, 4, 3), 1e300), "72 of 72 values are NaN or infinite"),
}


@pytest.mark.parametrize(("array", "message"), SHAPES.values(), ids=SHAPES)
def test_unsuitable_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match="x.npy: images have|x.npy: .*") as refusal:
        read_inputs(tmp_path / "x.npy", COLOUR)
    assert message in str(refusal.value)
    with pytest.raises(ValueError) as direct:
        prepare(array, COLOUR)
    assert str(refusal.value).endswith(str(direct.value))


def test_floats_are_taken_for_stored_images_only_where_they_must_be():
    stored = random_images(2, 6, 4, 3).astype(np.float32)
    raw = replace(COLOUR, preprocessing=Preprocessing())
    for inputs in (stored / 255, stored - 128, stored + 0.5, np.minimum(stored, 3), 0 * stored):
        np.testing.assert_array_equal(prepare(inputs, COLOUR), inputs)
    np.testing.assert_array_equal(prepare(stored, raw), stored)


def test_several_faults_are_listed_together(tmp_path):
    np.savez(
        tmp_path / "d.npz",
        images=np.full((2, 5, 5, 3), np.inf, np.float32),
        labels=np.array([0, -1, 7]),
    )
    with pytest.raises(ValueError) as refusal:
        read_evaluation_data(tmp_path / "d.npz", COLOUR)
    for part in ("(N, 6, 4, 3)", "150 of 150", "one per input", "labels range over -1..7"):
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": random_images(2, 8, 8)}, "labels missing"),
        ({"x": random_images(2, 8, 8)}, "images and labels missing"),
        ({"images": random_images(2, 8, 8), "labels": np.zeros(2)}, "dtype float64 and shape (2,)"),
        ({"images": random_images(2, 8, 8), "labels": np.zeros(3, int)}, "expected (2,)"),
        ({"images": random_images(2, 8, 8), "labels": np.array([0, 10])}, "range over 0..10"),
        ({"images": random_images(2, 8, 8), "labels": np.array([-1, 1])}, "range over -1..1"),
    ],
)
def test_unsuitable_labels_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(ValueError) as refusal:
        read_evaluation_data(tmp_path / "d.npz", GREY)
    assert message in str(refusal.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".npy":
        np.save(whole, random_images(50, 8, 8))
    else:
        np.savez_compressed(whole, images=random_images(50, 8, 8))
    content = whole.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="truncated or damaged|no NumPy file"):
        read_inputs(cut, GREY)


def test_a_damaged_archive_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", images=random_images(50, 8, 8))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_inputs(tmp_path / "x.npz", GREY)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "raw.npy"])
def test_pickled_objects_are_refused_and_never_executed(tmp_path, name):
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    if name == "raw.npy":
        (tmp_path / name).write_bytes(pickle.dumps(trap))
    elif name == "x.npy":
        np.save(tmp_path / name, trap, allow_pickle=True)
    else:
        np.savez(tmp_path / name, images=trap)
    with pytest.raises(ValueError, match="pickled Python objects"):
        read_inputs(tmp_path / name, GREY)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.npy", "there is no such file"),
        ("x.png", "expected a .npy or .npz"),
        ("folder.npy", "this is a folder"),
        ("two.npz", "expected an array named images, found 'a', 'b'"),
        ("none.npz", "expected an array named images, found none"),
    ],
)
def test_unreadable_paths_are_refused(tmp_path, name, message):
    (tmp_path / "x.png").write_bytes(b"png")
    (tmp_path / "folder.npy").mkdir()
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    np.savez(tmp_path / "none.npz")
    with pytest.raises(ValueError) as refusal:
        read_inputs(tmp_path / name, GREY)
    assert message in str(refusal.value)
    assert name in str(refusal.value)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.1, 0.2], None, "mean needs 1 number or 3, one per channel, got [0.1, 0.2]"),
        (None, [0.0], "std must be positive"),
        ([np.nan], None, "must be finite"),
    ],
)
def test_unsuitable_normalisation_is_refused(mean, std, message):
    with pytest.raises(ValueError) as refusal:
        prepare(random_images(1, 6, 4, 3), COLOUR, mean=mean, std=std)
    assert message in str(refusal.value)
