"""Gradients in parts are the gradients, and are in parts where that is meant to pay."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, SPARSITY
from test_ops import CONVOLUTIONS, convolve, operands

from jgaprune import saliency, training
from jgaprune.masks import apply_masks
from jgaprune.ops import convolution_in_parts, parts, rewrite

CONVOLUTION = "conv_general_dilated"
RULES = {CONVOLUTION: convolution_in_parts}
MASKS = saliency.one_shot(saliency.magnitude(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)
WIDE = {"window_strides": (1, 1), "padding": "VALID"}


def masked_loss(params, inputs):
    return training.imitation(MODEL)(apply_masks(params, MASKS), inputs)


def num_convolutions(function, *arguments):
    return str(jax.make_jaxpr(function)(*arguments)).count(f"{CONVOLUTION}[")


def take_apart(monkeypatch, num_features):
    """Sets the size of parts for everything that is not grouped."""
    usual = parts._features_per_part

    def forced(inputs, kernel, result, parameters):
        groups = parameters["feature_group_count"], parameters["batch_group_count"]
        return num_features if groups == (1, 1) else usual(inputs, kernel, result, parameters)

    monkeypatch.setattr(parts, "_features_per_part", forced)


@pytest.mark.parametrize("changes", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("num_features", [1, 2])
def test_in_parts_gradients_are_the_same(changes, num_features, key, monkeypatch):
    take_apart(monkeypatch, num_features)
    inputs, kernel = (one[0] for one in operands(key, changes, 1))

    def loss(inputs, kernel):
        return jnp.sum(jnp.sin(convolve(inputs, kernel, changes)))

    gradient = jax.grad(loss, argnums=(0, 1))
    in_parts = rewrite(gradient, RULES)
    more = num_convolutions(in_parts, inputs, kernel) > num_convolutions(gradient, inputs, kernel)
    assert more or "feature_group_count" in changes
    for one, whole in zip(in_parts(inputs, kernel), gradient(inputs, kernel), strict=True):
        np.testing.assert_allclose(one, whole, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize(
    ("size", "channels", "kernel", "stride", "num_parts"),
    [
        (32, (16, 16), 3, 1, 10),
        (16, (32, 32), 3, 1, 5),
        (8, (64, 64), 3, 1, 3),
        (32, (16, 32), 3, 2, 3),
        (224, (3, 64), 7, 2, 16),  # at most so many
        (224, (64, 64), 3, 1, 1),  # a single input is too much
        (2, (64, 64), 3, 1, 1),  # a small window
    ],
)
def test_how_many_parts_a_kernels_gradient_has(size, channels, kernel, stride, num_parts):
    inputs = jax.ShapeDtypeStruct((128, size, size, channels[0]), jnp.float32)
    weights = jax.ShapeDtypeStruct((kernel, kernel, *channels), jnp.float32)
    changes = {"window_strides": (stride, stride), "padding": "SAME"}

    def loss(weights, inputs):
        return jnp.sum(convolve(inputs, weights, changes) ** 2)

    forward = 1
    found = num_convolutions(rewrite(jax.grad(loss), RULES), weights, inputs)
    assert found == forward + num_parts


def test_grouped_convolutions_stay_whole(key):
    inputs = jax.random.normal(key, (2, 9, 9, 4))
    kernel = jax.random.normal(key, (8, 8, 2, 6))
    plain = partial(convolve, changes={**WIDE, "feature_group_count": 2})
    in_parts = rewrite(plain, RULES)
    assert num_convolutions(in_parts, inputs, kernel) == 1
    np.testing.assert_array_equal(in_parts(inputs, kernel), plain(inputs, kernel))


def test_parts_of_bfloat16_are_added_in_float32(key, monkeypatch):
    take_apart(monkeypatch, 1)
    inputs = jax.random.normal(key, (2, 16, 16, 64), jnp.bfloat16)
    kernel = jax.random.normal(key, (14, 14, 64, 3), jnp.bfloat16)
    plain = partial(convolve, changes=WIDE)
    exact = plain(inputs.astype(jnp.float32), kernel.astype(jnp.float32))
    result = rewrite(plain, RULES)(inputs, kernel)
    assert result.dtype == jnp.bfloat16
    np.testing.assert_allclose(result.astype(jnp.float32), exact, rtol=2**-8, atol=0.1)


def test_nothing_of_a_convolution_may_be_left(key):
    plain = partial(convolve, changes=WIDE)
    inputs, kernel = jnp.zeros((0, 9, 9, 4)), jnp.zeros((8, 8, 4, 6))
    assert rewrite(plain, RULES)(inputs, kernel).shape == (0, 2, 2, 6)


def test_the_gradient_of_training_is_that_of_jax(monkeypatch):
    expected = jax.jit(jax.grad(masked_loss))(MODEL.params, INPUTS)
    take_apart(monkeypatch, 5)
    gradient = training.gradient_of(masked_loss)
    for found in (gradient(MODEL.params, INPUTS), jax.jit(gradient)(MODEL.params, INPUTS)):
        for name, leaf in expected.items():
            np.testing.assert_allclose(found[name], leaf, rtol=1e-4, atol=1e-6)


def test_it_is_in_parts_on_a_cpu_only(monkeypatch):
    take_apart(monkeypatch, 1)
    arguments = MODEL.params, INPUTS
    plain = num_convolutions(jax.grad(masked_loss), *arguments)
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        found = num_convolutions(training.gradient_of(masked_loss), *arguments)
        assert (found > plain) if backend == "cpu" else (found == plain)


def test_the_dense_network_runs_once_in_a_step():
    once = num_convolutions(lambda x: MODEL.apply(MODEL.params, MODEL.buffers, x), INPUTS)
    assert num_convolutions(training.imitation(MODEL), MODEL.params, INPUTS) == 2 * once


def test_what_is_rematerialised_stays_apart_from_the_forward_pass():
    @jax.checkpoint
    def block(weights, x):
        return jnp.sin(jnp.sin(x @ weights))

    def loss(weights, x):
        return jnp.sum(block(weights, block(weights, x)))

    x = jnp.ones((3, 3))
    gradient = training.gradient_of(loss)
    np.testing.assert_allclose(gradient(x, x), jax.grad(loss)(x, x), rtol=1e-5)
    text = jax.jit(gradient).lower(x, x).as_text()
    assert text.count("optimization_barrier") >= 2
