"""A population handed over to a finer space keeps its masks."""

import jax
import jax.numpy as jnp
import pytest
from helpers import LAYOUT, SPACES, SPARSITY, base, trees_equal

from jgaprune import refine, spaces
from jgaprune.engine.refine import _refined
from jgaprune.masks import Layout

CHAIN = ("levels", "offsets", "offsets_output_channel", "weights")


def masks_of(name, genomes):
    return jax.vmap(SPACES[name].space.decode)(genomes)


@pytest.mark.slow
def test_masks_stay_the_same_all_the_way_from_levels_to_weights(key):
    genomes = jax.vmap(SPACES["levels"].space.sample)(jax.random.split(key, 4))
    masks = masks_of("levels", genomes)
    for coarse, fine in zip(CHAIN, CHAIN[1:], strict=False):
        genomes = refine(SPACES[coarse].space, SPACES[fine].space, genomes)
        assert trees_equal(masks_of(fine, genomes), masks), f"from {coarse} to {fine}"


def test_the_way_back_is_the_nearest_that_the_coarse_space_has(key):
    genomes = jax.vmap(SPACES["offsets"].space.sample)(jax.random.split(key, 3))
    found = masks_of("levels", refine(SPACES["offsets"].space, SPACES["levels"].space, genomes))
    wanted = masks_of("offsets", genomes)
    for name, one in found.items():
        difference = one.reshape(3, -1).sum(axis=1) - wanted[name].reshape(3, -1).sum(axis=1)
        assert jnp.abs(difference).max() <= 0.03 * LAYOUT.num_weights


def test_what_cannot_be_handed_over_is_explained(key):
    offsets = SPACES["offsets"].space
    genomes = jax.vmap(offsets.sample)(jax.random.split(key, 2))
    with pytest.raises(ValueError, match="encode"):
        refine(offsets, offsets._replace(encode=None), genomes)
    other = spaces.offsets({"w": jnp.ones(10)}, Layout(("w",), ((10,),)), SPARSITY)
    with pytest.raises(ValueError, match="one model's layout"):
        refine(offsets, other, genomes)


def test_spaces_that_differ_in_arrays_alone_share_the_program(key):
    _refined.clear_cache()
    for scale in (1.0, 2.0):
        scores = {name: scale * one for name, one in base().items()}
        coarse, fine = (
            build(scores, LAYOUT, SPARSITY) for build in (spaces.levels, spaces.offsets)
        )
        refine(coarse, fine, coarse.sample(key)[None])
    assert _refined._cache_size() == 1
