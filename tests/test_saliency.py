import jax.numpy as jnp
import numpy as np
import pytest
from helpers import LAYOUT, MODEL, SALIENCIES, count

from jgaprune import saliency
from jgaprune.masks import Layout, join, kept_for
from jgaprune.saliency.density import erk_densities


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
