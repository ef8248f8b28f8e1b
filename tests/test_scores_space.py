"""Laws of the space `scores`, and agreement with a transcription of the paper."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import paper_reference as reference
import pytest

from jgaprune.masks import count_kept
from jgaprune.model import Model, SourceTensor
from jgaprune.spaces.scores import cross_at, cut_points, mutation_draws, scores

SPARSITY = 0.5
CONV, DENSE = (3, 3, 2, 4), (2 * 3 * 4, 5)


def forward(params, inputs):
    x = jax.lax.conv_general_dilated(
        inputs, params["conv"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return x.reshape(x.shape[0], -1) @ params["dense"]


def make_model(with_source=True):
    params = {"conv": jnp.ones(CONV), "dense": jnp.ones(DENSE)}
    model = Model.from_fn(forward, params, (4, 5, 2))
    if not with_source:
        return model
    tensors = (
        ("conv", SourceTensor("conv.weight", (4, 2, 3, 3), "F32", (2, 3, 1, 0), (4, 2, 3, 3))),
        ("dense", SourceTensor("fc.weight", (5, 24), "F32", (2, 3, 1, 0), (5, 4, 2, 3))),
    )
    return model._replace(spec=dataclasses.replace(model.spec, tensors=tensors))


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def key():
    return jax.random.key(7)


def tensors_of(flat):
    return [np.asarray(flat[:72]), np.asarray(flat[72:])]


@pytest.mark.parametrize("sparsity", [0.01, 0.29, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("fill", ["sample", "zeros", "equal", "huge", "nan"])
def test_every_genome_keeps_the_budget_of_every_tensor(model, key, sparsity, fill):
    space = scores(model, sparsity)
    genome = space.sample(key)
    genome = {
        "sample": genome,
        "zeros": jnp.zeros_like(genome),
        "equal": jnp.full_like(genome, -0.3),
        "huge": genome.at[::3].set(jnp.inf).at[1::3].set(-jnp.inf),
        "nan": genome.at[::2].set(jnp.nan),
    }[fill]
    masks = space.decode(genome)
    for name, size in (("conv", 72), ("dense", 120)):
        assert masks[name].shape == model.params[name].shape
        assert int(jnp.sum(~masks[name])) == int(sparsity * size)


def test_masks_agree_with_the_paper_in_source_layout(model, key):
    space = scores(model, SPARSITY)
    genome = space.sample(key)
    conv, dense = reference.masks(tensors_of(genome), SPARSITY)
    masks = space.decode(genome)
    np.testing.assert_array_equal(masks["conv"], conv.reshape(4, 2, 3, 3).transpose(2, 3, 1, 0))
    flat_inputs = dense.reshape(5, 4, 2, 3).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(masks["dense"], flat_inputs.reshape(DENSE))


def test_without_a_source_the_leaf_layout_is_the_order(key):
    space = scores(make_model(with_source=False), SPARSITY)
    genome = space.sample(key)
    conv, dense = reference.masks(tensors_of(genome), SPARSITY)
    masks = space.decode(genome)
    np.testing.assert_array_equal(masks["conv"].reshape(-1), conv)
    np.testing.assert_array_equal(masks["dense"].reshape(-1), dense)


def test_initial_scores_fill_the_kaiming_range(model, key):
    genomes = jax.vmap(scores(model, SPARSITY).sample)(jax.random.split(key, 200))
    for part, fan_in in ((genomes[:, :72], 18), (genomes[:, 72:], 24)):
        bound = fan_in**-0.5
        assert bound * 0.99 < float(jnp.max(jnp.abs(part))) <= bound
        assert abs(float(jnp.mean(part))) < bound * 0.02
        assert float(jnp.std(part)) == pytest.approx(bound / 3**0.5, rel=0.02)


def test_both_children_agree_with_the_paper(model, key):
    space = scores(model, SPARSITY)
    first_key, second_key, cross_key = jax.random.split(key, 3)
    first, second = space.sample(first_key), space.sample(second_key)
    cuts = cut_points(cross_key, (72, 120))
    one, two = reference.cross(tensors_of(first), tensors_of(second), np.asarray(cuts))
    np.testing.assert_array_equal(space.cross(cross_key, first, second), np.concatenate(one))
    np.testing.assert_array_equal(space.cross(cross_key, second, first), np.concatenate(two))


def test_cuts_reach_both_ends_of_every_tensor(key):
    cuts = jax.vmap(lambda k: cut_points(k, (2, 3)))(jax.random.split(key, 400))
    assert np.unique(cuts[:, 0]).tolist() == [0, 1, 2]
    assert np.unique(cuts[:, 1]).tolist() == [0, 1, 2, 3]
    parents = jnp.zeros(5), jnp.ones(5)
    assert cross_at(jnp.array([0, 0]), *parents, (2, 3))[0].tolist() == [0] * 5
    assert cross_at(jnp.array([2, 3]), *parents, (2, 3))[0].tolist() == [1] * 5


def test_mutation_agrees_with_the_paper(model, key):
    space = scores(model, SPARSITY)
    genome = space.sample(key)
    chances, values = (np.asarray(draw) for draw in mutation_draws(key, 192))
    expected = reference.mutate(tensors_of(genome), chances, values, 0.2)
    child = space.mutate(key, genome, jnp.float32(0.2))
    np.testing.assert_array_equal(child, np.concatenate(expected))


def test_mutation_replaces_at_the_rate_with_scores_in_the_unit_range(model, key):
    space = scores(model, SPARSITY)
    genome = space.sample(key)
    assert space.mutate(key, genome, jnp.float32(0.0)).tolist() == genome.tolist()
    keys = jax.random.split(key, 200)
    children = jax.vmap(space.mutate, (0, None, None))(keys, genome, jnp.float32(0.1))
    changed = children != genome
    assert float(jnp.mean(changed)) == pytest.approx(0.1, rel=0.05)
    fresh = jax.vmap(space.mutate, (0, None, None))(keys, genome, jnp.float32(1.0))
    assert not bool(jnp.any(fresh == genome))
    assert 0.99 < float(jnp.max(fresh)) < 1.0
    assert -1.0 <= float(jnp.min(fresh)) < -0.99


def test_encoded_masks_decode_to_themselves(model, key):
    space = scores(model, SPARSITY)
    masks = space.decode(space.sample(key))
    again = space.decode(space.encode(masks))
    for name in masks:
        np.testing.assert_array_equal(again[name], masks[name])


@pytest.mark.parametrize("other", [0.2, 0.8])
def test_masks_of_another_budget_come_back_with_the_fewest_changes(model, key, other):
    masks = scores(model, other).decode(scores(model, other).sample(key))
    space = scores(model, SPARSITY)
    again = space.decode(space.encode(masks))
    for name, size in (("conv", 72), ("dense", 120)):
        changes = int(jnp.sum(again[name] != masks[name]))
        assert changes == abs(int(other * size) - int(SPARSITY * size))


def test_encoded_scores_match_the_strength_of_new_ones(model, key):
    space = scores(model, 0.8)
    genomes = jax.vmap(space.sample)(jax.random.split(key, 200))
    masks = jax.vmap(space.decode)(genomes)
    encoded = jax.vmap(space.encode)(masks)
    assert float(jnp.mean(encoded)) == pytest.approx(float(jnp.mean(jnp.abs(genomes))), rel=0.02)


def test_equal_spaces_share_one_compiled_program(model, key):
    @jax.jit
    def kept(space, genome):
        return count_kept(space.decode(genome))

    genome = scores(model, SPARSITY).sample(key)
    assert int(kept(scores(model, SPARSITY), genome)) == 96
    kept(scores(make_model(), SPARSITY), genome)
    assert kept._cache_size() == 1


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.1, 50.0])
def test_a_sparsity_outside_the_range_is_refused(model, sparsity):
    with pytest.raises(ValueError, match="sparsity"):
        scores(model, sparsity)
