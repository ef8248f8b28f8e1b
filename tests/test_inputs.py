from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import MODEL

from jgaprune.inputs import gaussian_noise, synthesize, vary
from jgaprune.inputs.synthesis import Synthesis
from jgaprune.model import Model, Preprocessing
from jgaprune.model.forward import keep_stored

SHORT = Synthesis(steps=40)


def test_synthesis_matches_statistics_that_it_was_not_started_at(key):
    other = 1.0 + 0.4 * jax.random.normal(jax.random.key(5), (64, 8, 8, 2))
    _, records = MODEL.observe(MODEL.params, MODEL.buffers, other, keep_stored)
    buffers = dict(MODEL.buffers)
    for name, record in records.items():
        buffers[f"{name}.mean"], buffers[f"{name}.var"] = record.batch
    model = MODEL._replace(buffers=buffers)
    inputs = synthesize(model, key, 16, SHORT)
    assert inputs.shape == (16, 8, 8, 2)

    def gap(x):
        _, records = model.observe(model.params, model.buffers, x, keep_stored)
        return float(jnp.mean(jnp.square(records["bn1"].batch.mean - buffers["bn1.mean"])))

    assert gap(inputs) < 0.2 * gap(gaussian_noise(model.spec, key, 16))


def test_same_key_same_inputs_other_key_other_inputs(key):
    first, again = (synthesize(MODEL, key, 4, Synthesis(steps=3)) for _ in range(2))
    assert np.array_equal(first, again)
    other = synthesize(MODEL, jax.random.key(8), 4, Synthesis(steps=3))
    assert not np.allclose(first, other)


def test_pixels_stay_in_the_range_of_real_images(key):
    preprocessing = Preprocessing(mean=(0.4, 0.5), std=(0.1, 0.2))
    model = MODEL._replace(spec=replace(MODEL.spec, preprocessing=preprocessing))
    inputs = np.asarray(synthesize(model, key, 4, Synthesis(steps=5)))
    low, high = np.array([-4.0, -2.5]), np.array([6.0, 2.5])
    assert np.all(inputs >= low - 1e-5) and np.all(inputs <= high + 1e-5)


@pytest.mark.parametrize(
    "preprocessing, low, high",
    [
        (Preprocessing(mean=(100.0,), std=(50.0,), scale=1.0), -2.0, 3.1),
        (Preprocessing(std=(0.5,)), 0.0, 2.0),
        (Preprocessing(mean=(0.25,)), -0.25, 0.75),
    ],
    ids=["0..255", "no mean", "no std"],
)
def test_the_range_follows_the_preprocessing(key, preprocessing, low, high):
    model = MODEL._replace(spec=replace(MODEL.spec, preprocessing=preprocessing))
    inputs = np.asarray(synthesize(model, key, 4, Synthesis(steps=2)))
    assert inputs.shape == (4, 8, 8, 2)
    assert inputs.min() == pytest.approx(low, abs=1e-5)
    assert inputs.max() == pytest.approx(high, abs=1e-5) or inputs.max() < high


def test_a_model_without_norms_is_refused_with_what_to_do(key):
    model = Model.from_fn(lambda p, x: x @ p["w"], {"w": jnp.ones((3, 2))}, (3,))
    with pytest.raises(ValueError, match="gaussian_noise"):
        synthesize(model, key, 4)


def test_noise_has_the_models_shape(key):
    noise = gaussian_noise(MODEL.spec, key, 400)
    assert noise.shape == (400, 8, 8, 2) and abs(float(noise.std()) - 1) < 0.02


@pytest.mark.parametrize("shape", [(12, 5), (12, 8, 8, 3), (12, 9, 4)])
def test_variations_are_mixtures_of_shifted_inputs(shape, key):
    inputs = jax.random.uniform(jax.random.key(1), shape)
    varied, again = vary(key, inputs), vary(key, inputs)
    assert varied.shape == inputs.shape and varied.dtype == inputs.dtype
    assert np.array_equal(varied, again) and not np.allclose(varied, inputs)
    low, high = inputs.min(axis=0).min(), inputs.max(axis=0).max()
    assert low <= varied.min() and varied.max() <= high
    channels = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(varied.mean(channels), inputs.mean(channels), atol=0.12)


def test_images_are_mirrored_and_shifted_before_they_are_mixed(key):
    """One bright pixel each: it stays near its place or its mirror image."""
    bright = jnp.zeros((200, 16, 16, 1)).at[:, 8, 3].set(1.0)
    places = {tuple(place) for place in np.argwhere(np.asarray(vary(key, bright)) > 0)[:, 1:3]}
    rows, columns = ({place[axis] for place in places} for axis in (0, 1))
    assert rows == {6, 7, 8, 9, 10}
    assert columns == {1, 2, 3, 4, 5} | {10, 11, 12, 13, 14}


def test_every_input_is_varied_by_itself(key):
    same = jnp.tile(jax.random.uniform(jax.random.key(2), (1, 16, 16, 1)), (24, 1, 1, 1))
    varied = np.asarray(vary(key, same))
    assert len(np.unique(varied.reshape(24, -1).round(4), axis=0)) > 20
