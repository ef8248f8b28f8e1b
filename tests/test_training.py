"""Gradient training: what it trains, what it leaves alone, and that it pays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import BUDGET, INPUTS, LAYOUT, MODEL, SPARSITY, base, count, trees_equal
from jax.tree_util import Partial

import jgaprune as jp
from jgaprune import saliency, training
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.plan import Choices
from jgaprune.driver.train import Steps, choose_steps, has_gradient
from jgaprune.masks import Layout
from jgaprune.model import Model
from jgaprune.training.descent import relative_rates

SHORT = training.Training(steps=6, batch=8)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def trained():
    return training.straight_through(
        training.imitation(MODEL),
        MODEL.params,
        base(),
        LAYOUT,
        SPARSITY,
        INPUTS,
        KEY,
        settings=SHORT,
        vary=jp.inputs.vary,
    )


def test_trained_scores_are_positive_and_give_masks_within_budget(trained):
    for name in LAYOUT.names:
        scores = np.asarray(trained.scores[name])
        assert scores.dtype == np.float32 and np.isfinite(scores).all() and (scores > 0).all()
    assert count(saliency.one_shot(trained.scores, LAYOUT, SPARSITY)) == BUDGET


def test_weights_are_trained_along_with_the_scores(trained):
    assert all(
        not jnp.array_equal(trained.params[name], MODEL.params[name]) for name in LAYOUT.names
    )


def test_a_weight_rate_of_zero_leaves_the_weights_and_what_was_given_alone():
    given = jax.tree.map(jnp.array, MODEL.params)
    alone = training.straight_through(
        training.imitation(MODEL),
        given,
        base(),
        LAYOUT,
        SPARSITY,
        INPUTS,
        KEY,
        settings=training.Training(steps=2, batch=8, weight_rate=0.0),
    )
    assert trees_equal(alone.params, MODEL.params) and trees_equal(given, MODEL.params)


def _far_from(target, params, inputs):
    return jnp.square(inputs @ params["w"] - inputs @ target).mean()


def test_straight_through_finds_a_planted_mask():
    """The target uses the half of the weights that magnitude would remove."""
    weights = jax.random.normal(KEY, (20, 10))
    layout = Layout(("w",), ((20, 10),))
    small = np.abs(weights) < np.median(np.abs(weights))
    inputs = jax.random.normal(jax.random.key(8), (256, 20))
    found = training.straight_through(
        Partial(_far_from, jnp.where(small, weights, 0.0)),
        {"w": weights},
        saliency.magnitude({"w": weights}, layout, 0.5),
        layout,
        0.5,
        inputs,
        KEY,
        settings=training.Training(steps=300, batch=64, score_rate=0.1, weight_rate=0.0),
    )
    mask = np.asarray(saliency.one_shot(found.scores, layout, 0.5)["w"])
    assert (mask == small).mean() > 0.9


def test_distilling_finds_planted_weights_under_a_mask():
    target = jax.random.normal(KEY, (20, 10))
    mask = {"w": jax.random.bernoulli(jax.random.key(4), 0.5, (20, 10))}
    planted = jnp.where(mask["w"], target, 0.0)
    inputs = jax.random.normal(jax.random.key(8), (256, 20))
    params = training.distil(
        Partial(_far_from, planted),
        {"w": target + 0.1 * jax.random.normal(jax.random.key(5), target.shape)},
        mask,
        inputs,
        KEY,
        settings=training.Training(steps=300, batch=64, weight_rate=0.01),
    )
    assert not np.asarray(params["w"])[~np.asarray(mask["w"])].any()
    np.testing.assert_allclose(params["w"], planted, atol=0.01)


def test_rates_follow_the_weights_that_are_left():
    settings = training.Training(weight_rate=0.5)
    weights = jnp.array([[3.0, 0.0], [0.0, -3.0]])
    rates = relative_rates({"w": weights, "larger": 10 * weights, "b": jnp.zeros(4)}, settings)
    assert float(rates["w"]) == 1.5 and float(rates["larger"]) == 15.0
    assert 0.0 < float(rates["b"]) < 0.05


@pytest.mark.parametrize("steps", [1, 10])
def test_a_first_step_moves_weights_and_none_by_more_than_its_rate(steps):
    settings, mask = training.Training(steps=steps, batch=8), {"w": jnp.ones((4, 2), bool)}
    before = {"w": jnp.full((4, 2), 2.0), "b": jnp.zeros(2)}
    moved = training.distil(Partial(_towards_zero), before, mask, INPUTS, KEY, settings=settings)
    most = {"w": steps * settings.weight_rate * 2.0, "b": steps * settings.weight_rate}
    for name, limit in most.items():
        distance = np.abs(np.asarray(moved[name] - before[name]))
        assert (distance > 0.0).all() and (distance <= 1.01 * limit).all()


def _towards_zero(params, inputs):
    return jnp.square(params["w"]).sum() + jnp.square(params["b"] - 1.0).sum()


def test_distilling_brings_a_pruned_network_nearer_to_the_dense_one():
    masks = saliency.one_shot(base(), LAYOUT, SPARSITY)
    loss = training.imitation(MODEL)
    settings = training.Training(steps=40, batch=16)
    params = training.distil(loss, MODEL.params, masks, INPUTS, KEY, settings=settings)
    before = loss(jp.masks.apply_masks(MODEL.params, masks), INPUTS)
    assert float(loss(params, INPUTS)) < 0.7 * float(before)
    for name, mask in masks.items():
        assert not np.asarray(params[name])[~np.asarray(mask)].any()


def test_same_key_same_training_other_key_other_training():
    masks = saliency.one_shot(base(), LAYOUT, SPARSITY)
    loss = training.imitation(MODEL)
    first, again, other = (
        training.distil(loss, MODEL.params, masks, INPUTS, key, settings=SHORT)
        for key in (KEY, KEY, jax.random.key(9))
    )
    assert trees_equal(first, again) and not trees_equal(first, other)


@pytest.mark.parametrize(
    "fault", [{"steps": 0}, {"batch": 0}, {"score_rate": -1.0}, {"weight_rate": -0.1}]
)
def test_impossible_settings_are_refused(fault):
    with pytest.raises(ValueError, match="steps and batch must be at least 1"):
        training.Training(**fault)


def _loops(params, inputs):
    def body(state):
        return state[0] + 1, state[1] @ params["w"]

    return jax.lax.while_loop(lambda state: state[0] < state[1].sum(), body, (0, inputs))[1]


def test_a_network_without_a_gradient_is_not_trained_and_the_report_says_so():
    model = Model.from_fn(_loops, {"w": jnp.eye(4)}, (4,))
    inputs = Inputs(jnp.ones((8, 4)), 8, "given")
    choices = Choices("bases", "output_distance", "genetic")
    steps, warnings = choose_steps(
        model, 100, asked=None, choices=choices, repair="distil", inputs=inputs
    )
    assert steps == Steps(0, 0) and "cannot differentiate" in warnings[0]
    assert has_gradient(MODEL, INPUTS)


@pytest.mark.parametrize(
    ("choices", "repair", "origin", "asked", "expected"),
    [
        (("bases", "output_distance", "genetic"), "distil", "given", None, Steps(100, 100)),
        (("bases", "kl", "genetic"), "reconstruct", "given", None, Steps(100, 0)),
        (("bases", "kl", "genetic"), "batch_norm_delta", "synthesised", 7, Steps(7, 0)),
        (("bases", "kl", "genetic"), "distil", "given", 0, Steps(0, 0)),
        (("bases", "kl", "genetic"), "batch_norm_delta", "noise", None, Steps(0, 0)),
        (("bases", "accuracy", "genetic"), "batch_norm_delta", "given", None, Steps(0, 0)),
        (("bases", "kl", "genetic"), "none", "given", None, Steps(0, 0)),
        (("bases", "kl", "paper3"), "batch_norm_delta", "given", None, Steps(0, 0)),
        (("offsets", "kl", "genetic"), "distil", "given", None, Steps(0, 100)),
    ],
)
def test_what_is_trained(choices, repair, origin, asked, expected):
    inputs = Inputs(INPUTS, len(INPUTS), origin)
    steps, warnings = choose_steps(
        MODEL, 100, asked=asked, choices=Choices(*choices), repair=repair, inputs=inputs
    )
    assert steps == expected and not warnings
