"""Inputs that are unlike the training data are told by the statistics that a network stores."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jgaprune as jp
from jgaprune.driver.inputs import make_inputs
from jgaprune.inputs import UNLIKE, gaussian_noise, unlikeness
from jgaprune.inputs.files import read_evaluation_data
from jgaprune.model.forward import keep_stored

ASSETS = Path(jp.__file__).parent / "assets"
MODEL = jp.converters.load("digits_cnn", ASSETS / "digits_cnn.pth")
IMAGES, _ = read_evaluation_data(ASSETS / "digits_test.npz", MODEL.spec)
PLAN = MODEL.spec.preprocessing
UNSUITABLE = {
    "noise": np.asarray(gaussian_noise(MODEL.spec, jax.random.key(0), 256)),
    "not normalised": (IMAGES[:256] * PLAN.std[0] + PLAN.mean[0]),
    "inverted": -IMAGES[:256],
}


@pytest.mark.parametrize("number", [8, 64, 256])
def test_test_images_are_like_the_training_data(number, key):
    images = jnp.asarray(IMAGES[:number])
    assert unlikeness(MODEL, images) < UNLIKE / 2
    assert unlikeness(MODEL, jp.inputs.vary(key, images)) < UNLIKE / 2


@pytest.mark.parametrize("inputs", UNSUITABLE.values(), ids=UNSUITABLE)
def test_unsuitable_inputs_are_not(inputs):
    assert unlikeness(MODEL, jnp.asarray(inputs)) > UNLIKE


def test_it_is_nothing_where_statistics_are_those_of_the_inputs():
    images = jnp.asarray(IMAGES[:64])
    buffers = MODEL.buffers
    for _ in MODEL.spec.norms:  # each layer sees what the ones before it have been told
        _, records = MODEL.observe(MODEL.params, buffers, images, keep_stored)
        for name, record in records.items():
            mean, var = record.batch
            buffers = {**buffers, f"{name}.mean": mean, f"{name}.var": var}
    assert unlikeness(MODEL._replace(buffers=buffers), images) < 1e-4
    assert unlikeness(MODEL._replace(observe=None), images) is None


@pytest.mark.parametrize("supplement", [False, True])
def test_who_gives_such_inputs_is_warned(supplement, key):
    def warnings(given):
        return make_inputs(MODEL, given, "auto", key, supplement=supplement, num_inputs=8).warnings

    assert warnings(IMAGES[:64]) == ()
    (warning,) = warnings(UNSUITABLE["noise"])
    assert "unlike what digits_cnn was trained on" in warning and "normalised" in warning
