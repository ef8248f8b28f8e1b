"""Laws of the space `levels` beyond those of every space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import BUDGET, LAYOUT, MODEL, SALIENCIES, SPACES, SPARSITY, base, trees_equal

from jgaprune import saliency, spaces
from jgaprune.masks import Layout, count_kept, join, keep_top, split

SPACE = SPACES["levels"].space
LINE = Layout(("a", "b", "c"), ((100,), (40,), (10,)))
"""Three layers with room for other levels, each."""


def line_space(**settings):
    scores = {
        name: jnp.linspace(2.0, 1.0, size) for name, size in zip("abc", LINE.sizes, strict=True)
    }
    return spaces.levels(saliency.protect(scores, LINE, 75), LINE, 0.5, **settings)


def kept_by(space, genome):
    return [int(mask.sum()) for mask in space.decode(jnp.array(genome, jnp.int32)).values()]


def test_level_zero_is_the_one_shot_mask():
    one_shot = split(keep_top(join(base(), LAYOUT), BUDGET), LAYOUT)
    assert trees_equal(SPACE.decode(jnp.zeros(len(LAYOUT.names), jnp.int32)), one_shot)


def test_a_level_is_as_many_weights_in_every_layer():
    space = line_space(num_levels=5, step=2)
    assert kept_by(space, [0, 0, 0]) == [50, 20, 5]
    assert kept_by(space, [3, -2, -1]) == [56, 16, 3]


def test_levels_follow_the_order_of_the_saliency(key):
    masks = SPACE.decode(SPACE.sample(key))
    for name, mask in masks.items():
        best = keep_top(base()[name].reshape(-1), int(mask.sum())).reshape(mask.shape)
        assert np.array_equal(mask, best)


def test_layers_stay_within_their_size_and_above_their_protected_weights():
    space = line_space(num_levels=50, step=1)
    assert kept_by(space, [-50, 25, 25]) == [50 - 25, 20 + 20, 5 + 5]
    assert kept_by(space, [50, -25, -25]) == [50 + 23, 1, 1]
    assert sum(kept_by(space, [50, 50, 50])) == 75


@pytest.mark.parametrize("step", [1, 4])
def test_a_mutation_is_one_to_three_level_switches(step, key):
    space = line_space(num_levels=6, step=step)
    mutate = jax.jit(jax.vmap(space.mutate, (0, None, None)))
    genome = jnp.array([1, -1, 0], jnp.int32)
    for strength, most in ((0.0, 0), (0.3, 1), (1.0, 3)):
        children = np.asarray(mutate(jax.random.split(key, 200), genome, jnp.float32(strength)))
        assert np.all(children.sum(axis=1) == 0)
        distance = np.abs(children - np.asarray(genome)).sum(axis=1)
        assert distance.max() == 2 * most
        assert np.mean(distance == 0) < (0.2 if most else 1.1)
        budgets = jax.jit(jax.vmap(lambda one: count_kept(space.decode(one))))(children)
        assert set(budgets.tolist()) == {75}
        canonical = jax.vmap(lambda one: space.encode(space.decode(one)))(jnp.array(children))
        assert np.array_equal(canonical, children), "a child beyond the limits of its layers"


def test_a_child_of_two_lies_between_its_parents_and_may_resemble_either(key):
    space = SPACE
    first, second = (space.sample(one) for one in jax.random.split(jax.random.key(5)))
    cross = jax.jit(jax.vmap(space.cross, (0, None, None)))
    children = np.asarray(cross(jax.random.split(key, 300), first, second))
    low, high = jnp.minimum(first, second), jnp.maximum(first, second)
    assert np.all(children.sum(axis=1) == 0)
    assert np.all((low <= children) & (children <= high))
    for parent in (first, second):
        shares = (children == np.asarray(parent)).mean(axis=0)
        assert np.all(shares > 0.15), "a layer that never comes from this parent"


def test_every_genome_of_the_space_is_that_of_its_own_mask(key):
    genomes = jax.vmap(SPACE.sample)(jax.random.split(key, 20))
    assert np.all(np.asarray(genomes).sum(axis=1) == 0)
    again = jax.jit(jax.vmap(lambda one: SPACE.encode(SPACE.decode(one))))(genomes)
    assert np.array_equal(again, genomes)


@pytest.mark.parametrize("score", SALIENCIES)
def test_a_mask_is_encoded_to_within_a_step_per_layer(score):
    scores = SALIENCIES[score](MODEL.params, LAYOUT, SPARSITY)
    masks = saliency.one_shot(scores, LAYOUT, SPARSITY)
    space = spaces.levels(base(), LAYOUT, SPARSITY, num_levels=40, step=3)
    found = space.decode(space.encode(masks))
    for name in LAYOUT.names:
        assert abs(int(found[name].sum()) - int(masks[name].sum())) <= 3


def test_with_single_weights_as_steps_masks_in_its_order_are_exact(key):
    space = line_space(num_levels=50, step=1)
    for sample_key in jax.random.split(key, 3):
        masks = line_space(num_levels=4, step=3).decode(space.sample(sample_key) // 4)
        assert trees_equal(space.decode(space.encode(masks)), masks)


def test_a_single_layer_has_a_single_mask(key):
    layout = Layout(("w",), ((30,),))
    space = spaces.levels({"w": jnp.arange(30.0)}, layout, 0.5)
    genome = space.mutate(key, space.sample(key), jnp.float32(1.0))
    assert kept_by(space, space.cross(key, genome, genome)) == [15]


@pytest.mark.parametrize("change", [{"num_levels": 0}, {"step": 0}, {"step": 10**6}])
def test_settings_out_of_range_are_explained(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        line_space(**change)
