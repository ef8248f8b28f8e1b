import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    BUDGET,
    INPUTS,
    LAYOUT,
    MODEL,
    OTHER_SALIENCIES,
    REPAIR,
    SALIENCIES,
    SPARSITY,
    count,
    trees_equal,
)

from jgaprune import saliency
from jgaprune.masks import Layout, join, kept_for
from jgaprune.model import Model
from jgaprune.repair import reconstruct
from jgaprune.saliency.density import erk_densities
from jgaprune.saliency.exact_obs import MOST_INPUTS


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("score", SALIENCIES.values(), ids=SALIENCIES.keys())
def test_one_shot_masks_have_the_exact_budget(score, sparsity):
    masks = saliency.one_shot(score(MODEL.params, LAYOUT, sparsity), LAYOUT, sparsity)
    assert count(masks) == kept_for(sparsity, LAYOUT.num_weights)
    assert all(mask.any() for mask in masks.values())


@pytest.mark.parametrize("score", SALIENCIES.values(), ids=SALIENCIES.keys())
def test_within_a_layer_the_larger_weights_stay(score):
    masks = saliency.one_shot(score(MODEL.params, LAYOUT, 0.6), LAYOUT, 0.6)
    for name, mask in masks.items():
        size = np.abs(np.asarray(MODEL.params[name]))
        kept = np.asarray(mask)
        assert size[kept].min() >= size[~kept].max(initial=0.0)


def test_magnitude_has_one_threshold():
    masks = saliency.one_shot(saliency.magnitude(MODEL.params, LAYOUT, 0.6), LAYOUT, 0.6)
    sizes = np.abs(np.asarray(join(MODEL.params, LAYOUT)))
    kept = np.asarray(join(masks, LAYOUT))
    assert sizes[kept].min() >= sizes[~kept].max()


def test_uniform_magnitude_prunes_every_layer_alike():
    scores = saliency.uniform_magnitude(MODEL.params, LAYOUT, 0.6)
    for mask in saliency.one_shot(scores, LAYOUT, 0.6).values():
        assert abs(1 - np.mean(mask) - 0.6) <= 1.5 / mask.size


@pytest.mark.parametrize("sparsity", [0.3, 0.6, 0.9])
def test_row_magnitude_prunes_every_row_alike_by_magnitude(sparsity):
    masks = saliency.one_shot(
        saliency.row_magnitude(MODEL.params, LAYOUT, sparsity), LAYOUT, sparsity
    )
    for name, mask in masks.items():
        sizes = np.abs(np.asarray(MODEL.params[name])).reshape(-1, mask.shape[-1])
        kept = np.asarray(mask).reshape(sizes.shape)
        counts = kept.sum(0)
        assert np.ptp(counts) <= 1
        assert abs(1 - kept.mean() - sparsity) <= 1.5 / kept.size
        for row, stays in zip(sizes.T, kept.T, strict=True):
            assert row[stays].min(initial=np.inf) >= row[~stays].max(initial=0.0)
        ordered = -np.sort(-sizes, axis=0)
        given, refused = (ordered[counts.min(), counts == counts.min() + rest] for rest in (1, 0))
        if len(given) and len(refused):  # the rest goes where the next weight is largest
            assert given.min() >= refused.max()


@pytest.mark.slow
def test_row_magnitude_is_wanda_where_all_inputs_are_alike():
    model = _two_layer_model()
    masks = [
        saliency.one_shot(scores, model.layout, 3 / 7)
        for scores in (
            saliency.row_magnitude(model.params, model.layout, 3 / 7),
            saliency.wanda(model, jnp.eye(7), 3 / 7),
        )
    ]
    assert np.array_equal(masks[0]["a"], masks[1]["a"])  # 4 of 7: no rest to give away


def test_lamp_against_its_definition():
    weight = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
    layout = Layout(("w",), ((4, 5),))
    squares = weight.astype(np.float64) ** 2
    expected = squares / np.array(
        [squares[squares >= value].sum() for value in squares.ravel()]
    ).reshape(squares.shape)
    np.testing.assert_allclose(
        saliency.lamp({"w": jnp.asarray(weight)}, layout, 0.5)["w"], expected, rtol=1e-5
    )


def test_erk_masks_have_erk_densities():
    masks = saliency.one_shot(saliency.erk(MODEL.params, LAYOUT, 0.6), LAYOUT, 0.6)
    for mask, density in zip(masks.values(), erk_densities(LAYOUT, 0.6), strict=True):
        assert abs(np.mean(mask) - density) <= 1.5 / mask.size


def test_erk_densities_meet_the_budget_and_prefer_small_layers():
    layout = Layout(("small", "large"), ((3, 3, 4, 4), (3, 3, 64, 64)))
    densities = erk_densities(layout, 0.8)
    kept = sum(d * s for d, s in zip(densities, layout.sizes, strict=True))
    assert kept == pytest.approx(0.2 * layout.num_weights)
    assert densities[0] > densities[1]


def test_no_layer_dies_at_a_sparsity_where_magnitude_would_kill_it():
    layout = Layout(("tiny", "large"), ((2, 2), (30, 30)))
    params = {"tiny": jnp.full((2, 2), 1e-6), "large": jnp.ones((30, 30))}
    masks = saliency.one_shot(saliency.magnitude(params, layout, 0.95), layout, 0.95)
    assert int(masks["tiny"].sum()) == 1


def test_too_few_weights_for_the_layers_is_explained():
    layout = Layout(tuple("abc"), ((3, 3),) * 3)
    scores = {name: jnp.ones((3, 3)) for name in "abc"}
    with pytest.raises(ValueError, match="3 layers need"):
        saliency.one_shot(scores, layout, 0.95)


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
@pytest.mark.parametrize("score", OTHER_SALIENCIES.values(), ids=OTHER_SALIENCIES.keys())
def test_scores_with_another_order_are_finite_and_have_the_exact_budget(score, sparsity):
    scores = score(sparsity)
    for leaf in scores.values():
        assert np.isfinite(leaf).all() and (np.asarray(leaf) >= 0).all()
    masks = saliency.one_shot(scores, LAYOUT, sparsity)
    assert count(masks) == kept_for(sparsity, LAYOUT.num_weights)
    assert all(mask.any() for mask in masks.values())


def _two_layers(params, inputs):
    return jax.nn.relu(inputs @ params["a"]) @ params["b"]


def _two_layer_model():
    keys = jax.random.split(jax.random.key(4), 2)
    params = {"a": jax.random.normal(keys[0], (7, 9)), "b": jax.random.normal(keys[1], (9, 4))}
    return Model.from_fn(_two_layers, params, (7,))


def _rows_by_numpy(model, inputs):
    """What enters each layer."""
    hidden = np.maximum(np.asarray(inputs, np.float64) @ np.asarray(model.params["a"]), 0)
    return {"a": np.asarray(inputs, np.float64), "b": hidden}


def test_wanda_keeps_the_same_share_of_every_output_by_weight_times_input_norm():
    model = _two_layer_model()
    inputs = jax.random.normal(jax.random.key(5), (50, 7))
    masks = saliency.one_shot(saliency.wanda(model, inputs, 0.4), model.layout, 0.4)
    for name, rows in _rows_by_numpy(model, inputs).items():
        product = np.abs(model.params[name]) * np.linalg.norm(rows, axis=0)[:, None]
        kept = np.asarray(masks[name])
        assert np.ptp(kept.sum(0)) <= 1
        for output in range(kept.shape[1]):
            column, stays = product[:, output], kept[:, output]
            assert column[stays].min() > column[~stays].max()


def test_obs_is_the_error_of_removing_one_weight_and_refitting_the_others():
    model = _two_layer_model()
    inputs = jax.random.normal(jax.random.key(6), (200, 7))
    scores = saliency.obs(model, inputs, 0.5, damping=1e-6)
    rows = _rows_by_numpy(model, inputs)["b"]
    weights = np.asarray(model.params["b"], np.float64)
    target = rows @ weights
    for place, output in ((0, 0), (4, 2), (8, 3)):
        others = np.delete(rows, place, axis=1)
        refit = others @ np.linalg.lstsq(others, target[:, output], rcond=None)[0]
        expected = np.square(refit - target[:, output]).sum() / np.square(target).sum()
        assert float(scores["b"][place, output]) == pytest.approx(expected, rel=0.02)


def _removals_by_brute_force(weights, gram):
    """Places in the order of removal, and the least-squares error that each one adds."""
    left, order, added, before = list(range(len(weights))), [], [], 0.0

    def error(kept):
        change = weights.copy()
        if kept:
            change[kept] -= np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept] @ weights)
        return change @ gram @ change

    while left:
        errors = [error([other for other in left if other != place]) for place in left]
        order.append(left.pop(int(np.argmin(errors))))
        added.append(min(errors) - before)
        before = min(errors)
    return order, np.array(added)


def test_exact_obs_removes_what_adds_least_after_refitting_all_that_are_left():
    model = _two_layer_model()
    inputs = jax.random.normal(jax.random.key(6), (200, 7))
    scores = np.asarray(saliency.exact_obs(model, inputs, 0.5, damping=0.02)["b"])
    rows = _rows_by_numpy(model, inputs)["b"]
    weights = np.asarray(model.params["b"], np.float64)
    size = np.square(rows @ weights).sum() / len(rows)
    gram = rows.T @ rows / len(rows)
    damped = gram + 0.02 * np.mean(np.diag(gram)) * np.eye(len(gram))
    for output in range(weights.shape[1]):
        order, added = _removals_by_brute_force(weights[:, output], damped)
        assert np.argsort(scores[:, output]).tolist() == order
        expected = np.maximum.accumulate(added) / size
        np.testing.assert_allclose(scores[order, output], expected, rtol=2e-3)


def test_exact_obs_leaves_layers_with_too_many_inputs_to_obs():
    params = {"w": jax.random.normal(jax.random.key(4), (MOST_INPUTS + 1, 2))}
    model = Model.from_fn(_one_layer, params, (MOST_INPUTS + 1,))
    inputs = jax.random.normal(jax.random.key(5), (9, MOST_INPUTS + 1))
    scores = [one(model, inputs, 0.5)["w"] for one in (saliency.exact_obs, saliency.obs)]
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_exact_obs_knows_a_twin_of_an_input():
    """The first of two equal inputs goes for nothing, the second then carries both weights."""
    params = {"w": jnp.array([[0.5], [0.5], [0.6], [0.7]])}
    model = Model.from_fn(_one_layer, params, (4,))
    inputs = jax.random.normal(jax.random.key(9), (400, 4))
    inputs = inputs.at[:, 1].set(inputs[:, 0])
    scores = saliency.exact_obs(model, inputs, 0.5, damping=1e-4)["w"].ravel()
    assert min(scores[:2]) < 1e-3 * max(scores) and max(scores[:2]) == max(scores)


def test_synflow_in_one_round_is_the_sum_over_paths():
    model = _two_layer_model()
    first, second = (np.abs(np.asarray(model.params[name], np.float64)) for name in "ab")
    paths = {"a": first * second.sum(1), "b": second * first.sum(0)[:, None]}
    masks = saliency.one_shot(saliency.synflow(model, 0.5, rounds=1), model.layout, 0.5)
    expected = saliency.one_shot(
        {name: jnp.asarray(one, jnp.float32) for name, one in paths.items()}, model.layout, 0.5
    )
    assert trees_equal(masks, expected)


def _deep(params, inputs):
    for name in sorted(params):
        inputs = jax.nn.relu(inputs @ params[name])
    return inputs


@pytest.mark.slow
def test_synflow_does_not_overflow_in_deep_networks():
    keys = jax.random.split(jax.random.key(6), 70)
    params = {f"w{i:02}": 0.2 * jax.random.normal(k, (64, 64)) for i, k in enumerate(keys)}
    model = Model.from_fn(_deep, params, (64,))
    scores = saliency.synflow(model, 0.5, rounds=2)
    masks = saliency.one_shot(scores, model.layout, 0.5)
    shares = [float(mask.mean()) for mask in masks.values()]
    assert min(shares) > 0.3 and max(shares) < 0.7


@pytest.mark.parametrize("score", [saliency.synflow, lambda m, s: saliency.wanda(m, INPUTS, s)])
def test_an_impossible_sparsity_is_explained(score):
    with pytest.raises(ValueError, match="Did you mean"):
        score(MODEL, 70)


def test_lookahead_repeats_channels_behind_a_flatten():
    params = {"conv": jnp.ones((1, 1, 1, 2)) * jnp.array([1.0, 3.0]), "head": jnp.ones((4, 1))}
    layout = Layout(("conv", "head"), ((1, 1, 1, 2), (4, 1)))
    scores = saliency.lookahead(params, layout, 0.5)
    assert scores["head"].ravel().tolist() == [1.0, 9.0, 1.0, 9.0]
    assert scores["conv"].ravel().tolist() == [2.0, 18.0]


def test_gradual_pruning_without_refitting_is_magnitude():
    masks = saliency.one_shot(saliency.gradual(MODEL, REPAIR, 0.7, rounds=5), LAYOUT, 0.7)
    expected = saliency.one_shot(saliency.magnitude(MODEL.params, LAYOUT, 0.7), LAYOUT, 0.7)
    assert trees_equal(masks, expected)


def _one_layer(params, inputs):
    return inputs @ params["w"]


def test_gradual_pruning_sees_that_a_refitted_twin_has_become_worth_more():
    """Two inputs are twins and share their weight: at once, both would go before the others."""
    params = {"w": jnp.array([[0.5], [0.5], [0.6], [0.7]])}
    model = Model.from_fn(_one_layer, params, (4,))
    inputs = jax.random.normal(jax.random.key(9), (400, 4))
    inputs = inputs.at[:, 1].set(inputs[:, 0])
    refit = reconstruct(model, inputs, ridge=1e-4)
    at_once = saliency.one_shot(saliency.magnitude(params, model.layout, 0.5), model.layout, 0.5)
    assert at_once["w"].ravel().tolist() == [False, False, True, True]
    scores = saliency.gradual(model, refit, 0.5, rounds=2)
    kept = saliency.one_shot(scores, model.layout, 0.5)["w"].ravel()
    assert kept.tolist() in ([True, False, False, True], [False, True, False, True])


def _one_unseen(params, inputs):
    hidden = jax.nn.relu((params["a"].T @ inputs.T).T)
    return hidden @ params["b"]


@pytest.mark.parametrize("score", [saliency.wanda, saliency.obs])
def test_weights_whose_inputs_are_not_seen_are_scored_on_the_same_scale(score):
    keys = jax.random.split(jax.random.key(4), 2)
    params = {"a": jax.random.normal(keys[0], (30, 30)), "b": jax.random.normal(keys[1], (30, 30))}
    model = Model.from_fn(_one_unseen, params, (30,))
    inputs = jax.random.normal(jax.random.key(5), (200, 30))
    masks = saliency.one_shot(score(model, inputs, 0.5), model.layout, 0.5)
    assert all(0.3 < float(mask.mean()) < 0.7 for mask in masks.values())


def test_lookahead_leaves_vectors_to_themselves():
    params = {"w": jnp.ones((2, 3)), "scale": jnp.array([1.0, 2.0, 3.0])}
    layout = Layout(("w", "scale"), ((2, 3), (3,)))
    scores = saliency.lookahead(params, layout, 0.5)
    assert scores["scale"].tolist() == [1.0, 4.0, 9.0] and (scores["w"] == 1.0).all()


@pytest.mark.parametrize("name", ["lamp", "exact_obs", "gradual"])
def test_ranks_keep_the_masks_of_every_score_and_are_their_own_ranks(name):
    made = {**OTHER_SALIENCIES, "lamp": lambda s: saliency.lamp(MODEL.params, LAYOUT, s)}
    scores = made[name](SPARSITY)
    ranks = saliency.ranked(scores, LAYOUT, SPARSITY)
    assert trees_equal(
        saliency.one_shot(ranks, LAYOUT, SPARSITY), saliency.one_shot(scores, LAYOUT, SPARSITY)
    )
    assert trees_equal(saliency.ranked(ranks, LAYOUT, SPARSITY), ranks)
    flat = np.sort(np.concatenate([np.ravel(one) for one in ranks.values()]))[::-1]
    assert np.all(flat[:BUDGET] >= 1) and np.all(flat[BUDGET:] < 1)
