"""SparseGPT: the published algorithm, exact budgets, and weights that belong to the masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, SPARSITY, count

from jgaprune import objectives, repair, saliency
from jgaprune.masks import Layout, apply_masks, kept_for
from jgaprune.model import Model
from jgaprune.saliency.sparse_gpt import kept_by_layer, prune_layer


def by_numpy(weights, gram, kept, block, damping):
    """The loop of the paper: `weights [O, K]`, `kept` weights stay per block."""
    weights, gram = weights.astype(np.float64), gram.astype(np.float64)
    num_columns = weights.shape[1]
    dead = np.diag(gram) == 0
    gram[dead, dead] = 1
    weights[:, dead] = 0
    gram += damping * np.mean(np.diag(gram)) * np.eye(num_columns)
    factor = np.linalg.cholesky(np.linalg.inv(gram)).T
    for start, num in zip(range(0, num_columns, block), kept, strict=True):
        stop = min(start + block, num_columns)
        inside = factor[start:stop, start:stop]
        scores = np.square(weights[:, start:stop]) / np.square(np.diag(inside))
        keeps = scores >= np.sort(scores, axis=None)[scores.size - num]
        errors = np.zeros_like(scores)
        for column in range(stop - start):
            seen = weights[:, start + column].copy()
            chosen = np.where(keeps[:, column], seen, 0)
            errors[:, column] = (seen - chosen) / inside[column, column]
            weights[:, start + column : stop] -= np.outer(
                errors[:, column], inside[column, column:]
            )
            weights[:, start + column] = chosen
        weights[:, stop:] -= errors @ factor[start:stop, stop:]
    return weights


def test_one_layer_against_the_papers_loop():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 23)) @ rng.normal(size=(23, 23))
    rows[:, 7] = 0  # an input that is never there
    gram, weights = rows.T @ rows / 200, rng.normal(size=(23, 6))
    expected = by_numpy(weights.T, gram, (19, 19, 17), 8, 0.01).T
    found = prune_layer(
        jnp.asarray(weights, jnp.float32)[None], jnp.asarray(gram, jnp.float32)[None], 55, 8, 0.01
    )[0]
    np.testing.assert_array_equal(found != 0, expected != 0)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_groups_are_layers_of_their_own():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(2, 50, 9)).astype(np.float32)
    gram, weights = jnp.swapaxes(rows, 1, 2) @ rows / 50, jnp.asarray(rows[:, :9, :4])
    prune = jax.jit(prune_layer, static_argnums=(2, 3, 4))
    both = prune(weights, gram, 36, 4, 0.01)
    alone = prune(weights[1:], gram[1:], 18, 4, 0.01)
    np.testing.assert_allclose(both[1], alone[0], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def result():
    return saliency.sparse_gpt(MODEL, INPUTS, SPARSITY)


def test_masks_meet_the_budget_alike_in_every_layer_and_weights_obey_them(result):
    masks, params = result
    assert count(masks) == kept_for(SPARSITY, LAYOUT.num_weights)
    for name, mask in masks.items():
        assert abs(int(mask.sum()) - (1 - SPARSITY) * mask.size) <= 1
        assert not np.asarray(params[name])[~np.asarray(mask)].any()
    assert set(params) == set(MODEL.params)
    for name in set(params) - set(masks):
        np.testing.assert_array_equal(params[name], MODEL.params[name])


def test_its_weights_are_better_than_the_dense_ones_under_its_masks(result):
    masks, params = result
    fit = jax.jit(repair.batch_norm_delta(MODEL, INPUTS).fit)
    dense = MODEL.apply(MODEL.params, MODEL.buffers, INPUTS)

    def distance(params):
        return float(objectives.compare_logits(fit(params, MODEL.buffers)[0], dense)[0])

    assert distance(params) < distance(apply_masks(MODEL.params, masks))


def _one_unseen(params, inputs):
    return (params["a"].T @ inputs.T).T @ params["b"]


def test_weights_that_no_product_shows_go_by_magnitude():
    keys = jax.random.split(jax.random.key(4), 2)
    params = {"a": jax.random.normal(keys[0], (10, 10)), "b": jax.random.normal(keys[1], (10, 10))}
    model = Model.from_fn(_one_unseen, params, (10,))
    inputs = jax.random.normal(jax.random.key(5), (99, 10))
    masks, pruned = saliency.sparse_gpt(model, inputs, 0.6)
    assert count(masks) == 80
    sizes, kept = np.abs(params["a"]), np.asarray(masks["a"])
    assert sizes[kept].min() > sizes[~kept].max()
    np.testing.assert_array_equal(pruned["a"], np.where(kept, params["a"], 0))
    rows = inputs @ pruned["a"]  # what the pruned layer gives is what the next one is fitted to
    expected = by_numpy(np.array(params["b"]).T, np.array(rows.T @ rows) / 99, (40,), 128, 0.01)
    np.testing.assert_allclose(pruned["b"], expected.T, rtol=1e-2, atol=1e-3)


def test_no_layer_dies_and_the_budget_is_met_nevertheless():
    layout = Layout(("a", "b", "c"), ((2,), (3,), (95,)))
    assert kept_by_layer(layout, 0.9) == (1, 1, 8)
    with pytest.raises(ValueError, match="3 layers need"):
        kept_by_layer(layout, 0.98)
    with pytest.raises(ValueError, match="damping above 0"):
        saliency.sparse_gpt(MODEL, INPUTS, 0.5, damping=0)
