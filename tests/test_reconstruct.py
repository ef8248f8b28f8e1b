"""The repair that refits weights, against least squares by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import INPUTS, LAYOUT, MODEL, SPARSITY, inputs_for

from jgaprune import objectives, repair, saliency
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.ops import see_products

MASKS = saliency.one_shot(saliency.magnitude(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)
PRUNED = apply_masks(MODEL.params, MASKS)
RIDGE = 0.01


def _grouped(params, x):
    """A grouped strided convolution, a bias, a relu and a dense layer with a bias."""
    x = jax.lax.conv_general_dilated(
        x,
        params["conv"]["kernel"],
        (2, 2),
        [(1, 1), (1, 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )
    x = jax.nn.relu(x + params["conv"]["bias"])
    x = x.reshape(x.shape[0], -1)
    return jnp.einsum("nk,ko->no", x, params["head"]["kernel"]) + params["head"]["bias"]


def _grouped_model():
    keys = jax.random.split(jax.random.key(3), 4)
    params = {
        "conv": {"kernel": jax.random.normal(keys[0], (3, 3, 1, 6)), "bias": jnp.zeros(6)},
        "head": {"kernel": jax.random.normal(keys[1], (96, 5)), "bias": jnp.ones(5)},
    }
    return Model.from_fn(_grouped, params, (8, 8, 2))


def _ridge_by_numpy(rows, target, start, ridge):
    """Per output, over the kept weights alone, in float64."""
    rows, target = np.asarray(rows, np.float64), np.asarray(target, np.float64)
    start = np.asarray(start, np.float64)
    gram = rows.T @ rows
    strength = ridge * np.trace(gram) / len(gram)
    fitted = np.zeros_like(start)
    for output in range(start.shape[1]):
        kept = start[:, output] != 0
        inner = gram[np.ix_(kept, kept)] + strength * np.eye(kept.sum())
        right = rows.T[kept] @ target[:, output] + strength * start[kept, output]
        fitted[kept, output] = np.linalg.solve(inner, right)
    return fitted


def test_every_layer_is_the_ridge_regression_on_what_the_repaired_ones_before_give():
    """A network of dense layers, where rows are activations, refitted by hand layer by layer."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(12, 16, use_bias=False, rngs=rngs)
            self.second = nnx.Linear(16, 5, use_bias=False, rngs=rngs)

        def __call__(self, x):
            return self.second(nnx.relu(self.first(x)))

    model = Model.from_nnx(Net(nnx.Rngs(0)), (12,))
    inputs = jax.random.normal(jax.random.key(1), (600, 12))
    layout = model.layout
    masks = saliency.one_shot(saliency.magnitude(model.params, layout, 0.6), layout, 0.6)
    pruned = apply_masks(model.params, masks)
    _, fitted, _ = repair.reconstruct(model, inputs, ridge=RIDGE, steps=64).fit(pruned, {})

    dense, broken = inputs, inputs
    for name in ("first.kernel", "second.kernel"):
        target = dense @ model.params[name]
        expected = _ridge_by_numpy(broken, target, pruned[name], RIDGE)
        np.testing.assert_allclose(fitted[name], expected, rtol=1e-3, atol=1e-4)
        dense, broken = jax.nn.relu(target), jax.nn.relu(broken @ fitted[name])


def test_the_dense_network_is_left_as_it_is():
    logits, params, buffers = repair.reconstruct(MODEL, INPUTS).fit(MODEL.params, MODEL.buffers)
    for name, leaf in {**MODEL.params, **MODEL.buffers}.items():
        np.testing.assert_allclose({**params, **buffers}[name], leaf, rtol=1e-4, atol=1e-5)
    dense = MODEL.apply(MODEL.params, MODEL.buffers, INPUTS)
    np.testing.assert_allclose(logits, dense, rtol=1e-4, atol=1e-4)


def test_removed_weights_stay_removed_and_the_logits_are_those_of_the_result():
    fit = jax.jit(repair.reconstruct(MODEL, INPUTS).fit)
    logits, params, buffers = fit(PRUNED, MODEL.buffers)
    for name, mask in MASKS.items():
        assert not np.asarray(params[name])[~np.asarray(mask)].any()
        assert not np.allclose(params[name], PRUNED[name])
    np.testing.assert_allclose(logits, MODEL.apply(params, buffers, INPUTS), rtol=1e-4, atol=1e-5)


def test_it_is_nearer_to_the_dense_network_than_the_statistics_alone():
    inputs = inputs_for(MODEL, 256, seed=5)
    unseen = inputs_for(MODEL, 256, seed=6)
    dense = MODEL.apply(MODEL.params, MODEL.buffers, unseen)

    def error(made):
        _, params, buffers = made.fit(PRUNED, MODEL.buffers)
        return float(objectives.compare_logits(MODEL.apply(params, buffers, unseen), dense)[0])

    refitted = error(repair.reconstruct(MODEL, inputs))
    assert refitted < 0.8 * error(repair.batch_norm_delta(MODEL, inputs))


def test_without_weights_and_biases_it_is_the_batch_norm_delta():
    alone = repair.reconstruct(MODEL, INPUTS, weights=False, biases=False)
    _, params, buffers = alone.fit(PRUNED, MODEL.buffers)
    _, _, expected = repair.batch_norm_delta(MODEL, INPUTS).fit(PRUNED, MODEL.buffers)
    assert all(params[name] is PRUNED[name] for name in params)
    for name, buffer in expected.items():
        np.testing.assert_allclose(buffers[name], buffer, rtol=1e-4, atol=1e-5)


def test_grouped_convolutions_are_refitted_and_biases_take_the_mean_error():
    model = _grouped_model()
    inputs = inputs_for(model, 256, seed=2)
    masks = saliency.one_shot(
        saliency.uniform_magnitude(model.params, model.layout, 0.6), model.layout, 0.6
    )
    pruned = apply_masks(model.params, masks)
    dense = model.apply(model.params, {}, inputs)
    logits, params, _ = repair.reconstruct(model, inputs).fit(pruned, {})
    np.testing.assert_allclose((logits - dense).mean(0), 0, atol=1e-4)
    assert not np.allclose(params["conv.kernel"], pruned["conv.kernel"])
    before = float(objectives.compare_logits(model.apply(pruned, {}, inputs), dense)[0])
    assert float(objectives.compare_logits(logits, dense)[0]) < 0.7 * before


def test_other_inputs_can_be_shown_to_the_objective():
    shown = inputs_for(MODEL, 6, seed=8)
    made = repair.reconstruct(MODEL, INPUTS, shown=shown)
    logits, params, buffers = made.fit(PRUNED, MODEL.buffers)
    assert made.inputs is shown
    np.testing.assert_allclose(logits, MODEL.apply(params, buffers, shown), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{"ridge": -0.1}, {"steps": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="at least"):
        repair.reconstruct(MODEL, INPUTS, **settings)


def _positional(params, x):
    hidden = jax.nn.relu(x @ params["w"] + params["places"])
    return hidden.reshape(x.shape[0], -1) @ params["head"]


def test_what_is_added_per_position_is_no_bias():
    keys = jax.random.split(jax.random.key(5), 3)
    params = {
        "w": jax.random.normal(keys[0], (3, 6)),
        "places": jax.random.normal(keys[1], (4, 6)),
        "head": jax.random.normal(keys[2], (24, 5)),
    }
    model = Model.from_fn(_positional, params, (4, 3), prunable=lambda name, leaf: name != "places")
    pruned = {**params, "w": params["w"] * (jnp.abs(params["w"]) > 0.7)}
    _, fitted, _ = repair.reconstruct(model, inputs_for(model, 64)).fit(pruned, {})
    assert fitted["places"] is params["places"]
    assert not np.allclose(fitted["w"], pruned["w"])


def test_removed_biases_stay_removed_where_biases_are_prunable():
    def everything(name, leaf):
        return True

    weights = {"w": jax.random.normal(jax.random.key(1), (6, 8)), "b": jnp.ones(8)}
    model = Model.from_fn(lambda p, x: x @ p["w"] + p["b"], weights, (6,), prunable=everything)
    pruned = {"w": weights["w"], "b": weights["b"] * (jnp.arange(8) % 2)}
    _, fitted, _ = repair.reconstruct(model, inputs_for(model, 64)).fit(pruned, {})
    assert np.array_equal(fitted["b"], pruned["b"])


def test_a_scalar_that_is_added_is_left_alone():
    params = {"w": jax.random.normal(jax.random.key(1), (6, 8)), "shift": jnp.float32(0.3)}
    model = Model.from_fn(lambda p, x: x @ p["w"] + p["shift"], params, (6,))
    pruned = {**params, "w": params["w"] * (jnp.abs(params["w"]) > 0.5)}
    _, fitted, _ = repair.reconstruct(model, inputs_for(model, 64)).fit(pruned, {})
    assert fitted["shift"] is params["shift"]


def test_weights_that_were_used_in_another_way_before_stay_as_they_are():
    def tied(params, x):
        return jax.nn.relu(x @ jnp.tanh(params["w"])) @ params["w"].T

    params = {"w": jax.random.normal(jax.random.key(2), (6, 9))}
    model = Model.from_fn(tied, params, (6,))
    pruned = {"w": params["w"] * (jnp.abs(params["w"]) > 0.5)}
    inputs = inputs_for(model, 64)
    logits, fitted, _ = repair.reconstruct(model, inputs).fit(pruned, {})
    assert fitted["w"] is pruned["w"]
    np.testing.assert_allclose(logits, model.apply(fitted, {}, inputs), rtol=1e-5)


@pytest.mark.slow
def test_weights_in_bfloat16_are_refitted_in_float32_and_given_back_in_bfloat16():
    model = _grouped_model()
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model.params)
    model = model._replace(params=halved)
    inputs = inputs_for(model, 64).astype(jnp.bfloat16)
    pruned = {name: leaf * (jnp.abs(leaf) > 0.5) for name, leaf in halved.items()}
    logits, fitted, _ = repair.reconstruct(model, inputs).fit(pruned, {})
    assert {leaf.dtype for leaf in fitted.values()} == {jnp.dtype(jnp.bfloat16)}
    dense = model.apply(halved, {}, inputs).astype(jnp.float32)
    before = model.apply(pruned, {}, inputs).astype(jnp.float32)
    after = objectives.compare_logits(logits.astype(jnp.float32), dense)[0]
    assert float(after) < float(objectives.compare_logits(before, dense)[0])
    for score in (saliency.wanda, saliency.obs):
        assert all(leaf.dtype == jnp.float32 for leaf in score(model, inputs, 0.5).values())


def test_rows_of_a_grouped_convolution_belong_to_their_group():
    model, found = _grouped_model(), {}
    inputs = inputs_for(model, 3)

    def multiply(product, x, weights):
        found[weights.ndim] = jnp.matmul(product.rows(x), product.matrix(weights))
        return weights

    see_products(model.apply, multiply, model.params, {}, inputs)
    expected = jax.lax.conv_general_dilated(
        inputs,
        model.params["conv.kernel"],
        (2, 2),
        [(1, 1), (1, 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )
    together = jnp.concatenate(list(found[4]), axis=-1)
    np.testing.assert_allclose(together.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_impossible_bounds_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        repair.Bounds(variance_ratio=0.5)
