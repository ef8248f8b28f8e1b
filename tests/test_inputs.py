from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import MODEL

from jgaprune.inputs import Inversion, can_invert, gaussian_noise, invert, synthesize, vary
from jgaprune.inputs.images import prepare, to_images
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


def _classify(params, inputs):
    hidden = jax.nn.relu(inputs.reshape(len(inputs), -1) @ params["w1"])
    return hidden @ params["w2"]


def _classifier(**about):
    """16 hidden units on 8x8 images; classes 0 and 1 are weighed alike."""
    first, second = jax.random.split(jax.random.key(4))
    last = jax.random.normal(second, (16, 4))
    params = {"w1": 0.2 * jax.random.normal(first, (64, 16)), "w2": last.at[:, 1].set(last[:, 0])}
    model = Model.from_fn(_classify, params, (8, 8, 1))
    return model._replace(spec=replace(model.spec, **about))


CLASSIFIER = _classifier(preprocessing=Preprocessing(mean=(0.2,), std=(0.4,)))
FEW = Inversion(steps=40)


@pytest.fixture(scope="module")
def inverted():
    return invert(CLASSIFIER, jax.random.key(0), 40, FEW)


def test_the_network_is_surer_of_every_class_in_inverted_inputs_than_in_noise(key):
    def groups(inputs):
        """Probabilities `[N, 3]`; the classes that are weighed alike count as one."""
        probabilities = jax.nn.softmax(CLASSIFIER.apply(CLASSIFIER.params, {}, inputs))
        together = probabilities[:, :1] + probabilities[:, 1:2]
        return np.asarray(jnp.concatenate([together, probabilities[:, 2:]], axis=1))

    noise = 0.4 * gaussian_noise(CLASSIFIER.spec, jax.random.key(0), 40)
    pure = Inversion(40, 0.1, 1.0, (0.02,), 0.0, 0.0, 0.0, max_roll=0)
    sure = groups(invert(CLASSIFIER, key, 40, pure))
    assert sure.max(1).mean() > groups(noise).max(1).mean() + 0.1
    assert np.bincount(sure.argmax(1), minlength=3).min() >= 4


def test_inverted_inputs_are_pixels_and_differ(inverted):
    assert inverted.shape == (40, 8, 8, 1) and inverted.dtype == jnp.float32
    assert inverted.min() >= -0.5 - 1e-5 and inverted.max() <= 2.0 + 1e-5
    assert len(np.unique(np.asarray(inverted).round(3), axis=0)) == 40


def test_inversion_depends_on_its_key_alone(inverted):
    assert np.array_equal(invert(CLASSIFIER, jax.random.key(0), 40, FEW), inverted)
    assert not np.allclose(invert(CLASSIFIER, jax.random.key(1), 40, FEW), inverted)


def test_spread_moves_the_units_that_would_rest(inverted):
    """The least moved share of the hidden units moves more than without it."""

    def least(inputs):
        hidden = jax.nn.relu(inputs.reshape(40, -1) @ CLASSIFIER.params["w1"])
        return float(jnp.min(hidden.var(0)) / hidden.var(0).mean())

    without = invert(CLASSIFIER, jax.random.key(0), 40, replace(FEW, spread_weight=0.0))
    assert least(inverted) > least(without)


def test_unknown_preprocessing_means_standardised_features(key):
    inputs = invert(_classifier(), key, 8, Inversion(steps=30))
    assert inputs.min() < 0 and jnp.abs(inputs).max() <= 3.0


def test_one_output_or_no_gradient_cannot_be_inverted(key):
    single = Model.from_fn(lambda p, x: x @ p["w"], {"w": jnp.ones((3, 1))}, (3,))
    flat = Model.from_fn(lambda p, x: jnp.round(x) @ p["w"], {"w": jnp.ones((3, 2))}, (3,))
    words = Model.from_fn(lambda p, x: p["w"][x[:, 0].astype(int)], {"w": jnp.ones((3, 2))}, (3,))
    assert can_invert(CLASSIFIER) and can_invert(MODEL)
    assert not any(map(can_invert, (single, flat, words)))
    with pytest.raises(ValueError, match="no classes"):
        invert(single, key, 4)


@pytest.mark.parametrize("scale", [255.0, 1.0])
def test_inputs_become_the_images_that_they_were(scale):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    plan = Preprocessing(mean=(0.3 * 255 / scale,), std=(0.2,), scale=scale)
    spec = replace(CLASSIFIER.spec, preprocessing=plan)
    back = to_images(prepare(images, spec), spec)
    np.testing.assert_array_equal(back, np.repeat(images[..., None], 3, axis=-1))
    assert to_images(np.zeros((5, 7), np.float32), spec) is None
