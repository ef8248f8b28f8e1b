import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgaprune import masks, packed

SIZE = 3000
EVERYTHING_MOVES = jnp.zeros(masks.num_words(SIZE), jnp.uint32)


def random_mask(key, num_kept=1000, size=SIZE):
    return masks.pack(masks.keep_top(jax.random.uniform(key, (size,)), num_kept))


def bits(words, size=SIZE):
    return np.asarray(masks.unpack(words, size))


def exchange(key, words, num_swaps, fixed=EVERYTHING_MOVES, size=SIZE, num_kept=1000):
    kept = num_kept / size
    return packed.exchange_random(
        key,
        words,
        fixed,
        size,
        jnp.int32(num_swaps),
        max_swaps=64,
        swap_share=2 * kept * (1 - kept),
    )


@pytest.mark.parametrize("num_swaps", [0, 1, 7, 64])
def test_exchange_swaps_so_many_and_keeps_the_count(num_swaps, key):
    words = random_mask(key)
    for exchange_key in jax.random.split(key, 20):
        changed = bits(exchange(exchange_key, words, num_swaps)) != bits(words)
        assert changed.sum() == 2 * num_swaps
        assert (changed & bits(words)).sum() == num_swaps


@pytest.mark.parametrize(("size", "num_kept"), [(2, 1), (33, 1), (33, 32), (40, 20), (1000, 3)])
def test_exchange_keeps_the_count_of_tiny_and_lopsided_masks(size, num_kept, key):
    words = random_mask(key, num_kept, size)
    fixed = jnp.zeros_like(words)
    for exchange_key in jax.random.split(key, 20):
        words = exchange(exchange_key, words, 3, fixed, size, num_kept)
        assert bits(words, size).sum() == num_kept
        assert int(masks.count_bits(words)) == num_kept  # none behind the end


def test_exchange_leaves_fixed_bits_alone(key):
    fixed = masks.pack(jnp.arange(SIZE) % 3 == 0)
    words = random_mask(key)
    changed = bits(exchange(key, words, 64, fixed)) != bits(words)
    assert changed.any()
    assert not (changed & bits(fixed)).any()


def test_exchange_reaches_every_weight_alike(key):
    words = random_mask(key)
    draws = 3000
    exchanged = jax.jit(jax.vmap(lambda k: exchange(k, words, 5)))(jax.random.split(key, draws))
    changed = np.asarray(jax.vmap(lambda w: masks.unpack(w, SIZE))(exchanged ^ words)).mean(axis=0)
    for group, size in ((bits(words), 1000), (~bits(words), 2000)):
        expected = 5 / size
        spread = np.sqrt(expected / draws)
        assert abs(changed[group].mean() - expected) < 0.01 * expected
        assert np.std(changed[group]) < 1.1 * spread  # no more than chance
        assert np.max(np.abs(changed[group] - expected)) < 5 * spread


def test_over_generations_exchange_forgets_where_it_came_from(key):
    """Any weight is kept as often as any other, however far from the ones kept at first."""
    start = masks.pack(jnp.arange(SIZE) < 1000)

    def generations(key):
        step = lambda words, k: (exchange(k, words, 64), None)  # noqa: E731
        return jax.lax.scan(step, start, jax.random.split(key, 100))[0]

    ends = jax.jit(jax.vmap(generations))(jax.random.split(key, 200))
    kept = np.asarray(jax.vmap(lambda w: masks.unpack(w, SIZE))(ends)).mean(axis=0)
    spread = np.sqrt(1 / 3 * 2 / 3 / 200)
    assert np.all(np.abs(kept.reshape(30, 100).mean(axis=1) - 1 / 3) < 5 * spread / np.sqrt(100))
    assert np.std(kept) < 1.1 * spread


@pytest.mark.parametrize("size", [20, SIZE])
def test_a_segment_is_a_range_in_which_both_have_equally_many(size, key):
    first_key, second_key, key = jax.random.split(key, 3)
    first, second = (random_mask(k, size // 3, size) for k in (first_key, second_key))
    segments = jax.vmap(lambda k: packed.balanced_segment(k, first, second))(
        jax.random.split(key, 200)
    )
    for segment in segments:
        inside = bits(segment, 32 * len(first))
        assert np.abs(np.diff(inside.astype(int))).sum() <= 2
        both = bits(first, 32 * len(first)), bits(second, 32 * len(first))
        assert both[0][inside].sum() == both[1][inside].sum()
    assert np.median([bits(one, size).mean() for one in segments]) > 0.1


def test_nth_set_bit_against_numpy(key):
    flat = jax.random.bernoulli(key, 0.3, (200,))
    positions = np.flatnonzero(flat)
    word, bit = packed.nth_set_bits(masks.pack(flat), jnp.arange(len(positions)))
    assert np.array_equal(np.asarray(word) * 32 + np.asarray(bit), positions)


@pytest.mark.parametrize("num_flips", [0, 1, 7, 40])
def test_flips_are_exact_and_stay_among_the_candidates(num_flips, key):
    among = masks.pack(jax.random.bernoulli(key, 0.3, (200,)))
    words = masks.pack(jnp.zeros(200, bool))
    flipped = packed.flip_random(key, words, among, jnp.int32(num_flips), 40)
    assert int(masks.count_bits(flipped)) == num_flips
    assert int(masks.count_bits(flipped & ~among)) == 0


def test_every_candidate_flips_equally_often(key):
    among = masks.pack(jnp.arange(96) % 3 != 0)
    words = jnp.zeros(3, jnp.uint32)
    draws = jax.vmap(
        lambda k: masks.unpack(packed.flip_random(k, words, among, jnp.int32(5), 8), 96)
    )(jax.random.split(key, 4000))
    counts = np.asarray(draws.sum(axis=0))[np.arange(96) % 3 != 0]
    expected = 4000 * 5 / 64
    # Strata of 13, 13, 13, 13 and 12 bits: each bit within the rounding of its stratum.
    assert np.all(np.abs(counts - expected) < 0.08 * expected + 5 * np.sqrt(expected))
