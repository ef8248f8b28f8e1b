import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgaprune import masks
from jgaprune.masks import Layout


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1000])
def test_pack_and_unpack_are_inverse(size, key):
    flat = jax.random.bernoulli(key, 0.4, (size,))
    words = masks.pack(flat)
    assert words.dtype == jnp.uint32 and words.shape == (masks.num_words(size),)
    assert np.array_equal(masks.unpack(words, size), flat)
    assert int(masks.count_bits(words)) == int(flat.sum())


def test_bit_i_stands_in_word_i_over_32():
    flat = jnp.zeros(70, bool).at[37].set(True)
    assert masks.pack(flat).tolist() == [0, 1 << 5, 0]


@pytest.mark.parametrize(
    "scores",
    [
        np.array([0.0, -0.0, 0.0, 1.0, -1.0, 1.0], np.float32),
        np.array([np.inf, -np.inf, 3e38, -3e38, 1e-45, -1e-45], np.float32),
        np.random.default_rng(0).normal(size=501).astype(np.float32),
        np.random.default_rng(1).integers(0, 4, 300).astype(np.float32),
    ],
    ids=["zeros", "extremes", "normal", "many_ties"],
)
def test_keep_top_is_a_stable_sort(scores):
    # The reference cannot tell both zeros apart either: they compare equal.
    order = np.argsort(-scores, kind="stable")
    for num_kept in {0, 1, 2, len(scores) // 2, len(scores) - 1, len(scores)}:
        expected = np.zeros(len(scores), bool)
        expected[order[:num_kept]] = True
        found = np.asarray(jax.jit(masks.keep_top)(scores, num_kept))
        # XLA on CPU flushes denormals: compare the chosen values, as equal ones may swap.
        assert found.sum() == num_kept
        assert np.array_equal(np.sort(scores[found]), np.sort(scores[expected]))
        if not np.any((scores != 0) & (np.abs(scores) < 1e-37)):
            assert np.array_equal(found, expected)


def test_join_and_split_are_inverse(key):
    layout = Layout(("a", "b"), ((2, 3), (4,)))
    flat = jax.random.normal(key, (10,))
    assert np.array_equal(masks.join(masks.split(flat, layout), layout), flat)


def test_masks_leave_other_leaves_alone():
    params = {"w": jnp.array([1.0, jnp.nan]), "b": jnp.array([2.0])}
    masked = masks.apply_masks(params, {"w": jnp.array([True, False])})
    assert masked["w"].tolist() == [1.0, 0.0] and masked["b"] is params["b"]


@pytest.mark.parametrize("sparsity", [0, 1, -0.1, 70, float("nan")])
def test_impossible_sparsity_is_explained(sparsity):
    with pytest.raises(ValueError, match="fraction of the prunable weights to remove"):
        masks.kept_for(sparsity, 100)


def test_percentages_are_recognised():
    with pytest.raises(ValueError, match=r"Did you mean 0\.7\?"):
        masks.kept_for(70, 100)


def test_leaves_unpack_by_themselves_as_together(key):
    layout = masks.Layout(("a", "b", "c", "d"), ((3, 7), (32,), (5, 5, 3), (1,)))
    words = masks.pack(jax.random.bernoulli(key, 0.4, (layout.num_weights,)))
    whole = masks.split(masks.unpack(words, layout.num_weights), layout)
    leaves = masks.unpack_leaves(words, layout)
    assert all(np.array_equal(leaves[name], whole[name]) for name in layout.names)
