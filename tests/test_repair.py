import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, REPAIR, SPARSITY, inputs_for

from jgaprune import repair, saliency
from jgaprune.masks import apply_masks
from jgaprune.model import Model

MASKS = saliency.one_shot(saliency.magnitude(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)


def test_the_dense_network_is_left_as_it_is():
    _, params, buffers = REPAIR.fit(MODEL.params, MODEL.buffers)
    for name, buffer in MODEL.buffers.items():
        np.testing.assert_allclose(buffers[name], buffer, rtol=1e-5, atol=1e-6)
    assert params is MODEL.params


def test_layer_by_layer_against_two_passes_by_hand():
    """Layer 2 must see what the repaired layer 1 gives, not what the broken one gave."""
    params = apply_masks(MODEL.params, MASKS)
    _, _, repaired = REPAIR.fit(params, MODEL.buffers)
    expected = dict(MODEL.buffers)
    for norm in ("bn1", "bn2"):
        dense = _statistics_before(norm, MODEL.params, MODEL.buffers)
        pruned = _statistics_before(norm, params, expected)
        expected[f"{norm}.mean"] = MODEL.buffers[f"{norm}.mean"] + pruned[0] - dense[0]
        expected[f"{norm}.var"] = MODEL.buffers[f"{norm}.var"] * pruned[1] / dense[1]
    loose = repair.batch_norm_delta(MODEL, INPUTS, max_variance_ratio=1e6, max_mean_shift=1e6).fit(
        params, MODEL.buffers
    )[2]
    for name in expected:
        np.testing.assert_allclose(loose[name], expected[name], rtol=1e-4, atol=1e-5)
    assert not np.allclose(repaired["bn1.mean"], MODEL.buffers["bn1.mean"])


def _statistics_before(norm, params, buffers):
    """Mean and variance of the inputs of a batch-norm layer, by NumPy from a forward pass."""
    x = np.asarray(
        jax.lax.conv_general_dilated(
            INPUTS,
            params["conv1.kernel"],
            (1, 1),
            [(1, 1), (1, 1)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    )
    if norm == "bn2":
        x = (x - buffers["bn1.mean"]) / np.sqrt(buffers["bn1.var"] + 1e-5)
        x = np.maximum(x * params["bn1.scale"] + params["bn1.bias"], 0)
        x = np.asarray(
            jax.lax.conv_general_dilated(
                x,
                params["conv2.kernel"],
                (2, 2),
                [(1, 1), (1, 1)],
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        )
    return x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))


def test_logits_are_those_of_the_repaired_model():
    params = apply_masks(MODEL.params, MASKS)
    logits, params, buffers = REPAIR.fit(params, MODEL.buffers)
    np.testing.assert_allclose(logits, MODEL.apply(params, buffers, INPUTS), rtol=1e-4, atol=1e-5)


def test_it_brings_the_outputs_back():
    params = apply_masks(MODEL.params, MASKS)
    held_out = inputs_for(MODEL, 64, seed=9)
    dense = MODEL.apply(MODEL.params, MODEL.buffers, held_out)
    _, fixed, buffers = REPAIR.fit(params, MODEL.buffers)

    def error(params, buffers):
        return float(jnp.mean(jnp.square(MODEL.apply(params, buffers, held_out) - dense)))

    assert error(fixed, buffers) < 0.8 * error(params, MODEL.buffers)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_changes_are_bounded(scale):
    params = {**MODEL.params, "conv1.kernel": MODEL.params["conv1.kernel"] * scale}
    bounded = repair.batch_norm_delta(MODEL, INPUTS, max_variance_ratio=3.0, max_mean_shift=0.5)
    _, _, buffers = bounded.fit(params, MODEL.buffers)
    ratio = buffers["bn1.var"] / MODEL.buffers["bn1.var"]
    shift = (buffers["bn1.mean"] - MODEL.buffers["bn1.mean"]) / jnp.sqrt(MODEL.buffers["bn1.var"])
    assert np.all((ratio >= 1 / 3 - 1e-5) & (ratio <= 3 + 1e-5))
    assert np.all(np.abs(shift) <= 0.5 + 1e-5)


def test_shown_inputs_are_looked_at_and_change_no_statistics():
    params = apply_masks(MODEL.params, MASKS)
    first, rest = INPUTS[:5], INPUTS[5:]
    expected, _, buffers = repair.batch_norm_delta(MODEL, first).fit(params, MODEL.buffers)
    both = repair.batch_norm_delta(MODEL, first, shown=rest)
    np.testing.assert_array_equal(both.inputs, INPUTS)
    logits, _, found = both.fit(params, MODEL.buffers)
    for name in buffers:
        np.testing.assert_array_equal(found[name], buffers[name])
    np.testing.assert_allclose(logits[:5], expected, atol=1e-6)
    np.testing.assert_allclose(logits[5:], MODEL.apply(params, buffers, rest), atol=1e-6)


@pytest.mark.parametrize("bounds", [{"max_variance_ratio": 0.5}, {"max_mean_shift": -1.0}])
def test_impossible_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match="at least"):
        repair.batch_norm_delta(MODEL, INPUTS, **bounds)


def test_with_dense_logits_it_is_the_same():
    dense, beside = repair.dense_and_delta(MODEL, INPUTS)
    expected = MODEL.apply(MODEL.params, MODEL.buffers, INPUTS)
    np.testing.assert_allclose(dense, expected, rtol=1e-5, atol=1e-5)
    params = apply_masks(MODEL.params, MASKS)
    for one, other in zip(
        jax.tree.leaves(beside.fit(params, MODEL.buffers)),
        jax.tree.leaves(REPAIR.fit(params, MODEL.buffers)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_channel_that_died_stays_finite():
    masks = {**MASKS, "conv1.kernel": jnp.zeros_like(MASKS["conv1.kernel"])}
    logits, _, buffers = REPAIR.fit(apply_masks(MODEL.params, masks), MODEL.buffers)
    assert np.isfinite(logits).all()
    assert all(np.isfinite(buffer).all() for buffer in buffers.values())


def test_a_model_without_visible_norms_passes_through():
    model = Model.from_fn(_linear, {"w": jnp.ones((3, 2))}, (3,))
    fix = repair.batch_norm_delta(model, jnp.ones((4, 3)))
    logits, params, buffers = fix.fit(model.params, model.buffers)
    assert params is model.params and buffers == {}
    np.testing.assert_allclose(logits, 3.0)
    dense, _ = repair.dense_and_delta(model, jnp.ones((4, 3)))
    np.testing.assert_allclose(dense, 3.0)


def _linear(params, inputs):
    return inputs @ params["w"]
