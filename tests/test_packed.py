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


@pytest.mark.parametrize(
    ("size", "num_kept"),
    [
        *((2, 1), (1000, 3)),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((33, 1), (33, 32), (40, 20))),
    ],
)
def test_exchange_keeps_the_count_of_tiny_and_lopsided_masks(size, num_kept, key):
    words = random_mask(key, num_kept, size)
    was_changed = False
    fixed = jnp.zeros_like(words)
    for exchange_key in jax.random.split(key, 20):
        before, words = words, exchange(exchange_key, words, 3, fixed, size, num_kept)
        was_changed |= bool((before != words).any())
        assert bits(words, size).sum() == num_kept
        assert int(masks.count_bits(words)) == num_kept  # none behind the end
    assert was_changed


def exchange_near(key, words, num_swaps, order, fixed=None, near=0.05):
    fixed = jnp.zeros_like(words) if fixed is None else fixed
    return packed.exchange_near(
        key, words, fixed, order, jnp.int32(num_swaps), near=near, max_swaps=64, swap_share=0.4
    )


@pytest.mark.parametrize("num_swaps", [0, 1, 64])
def test_near_exchange_swaps_so_many_mostly_at_the_beginning_of_the_order(num_swaps, key):
    order = jax.random.permutation(key, SIZE)
    words = random_mask(key, SIZE // 2)
    exchanged = jax.jit(jax.vmap(exchange_near, (0, None, None, None)))
    changed = exchanged(jax.random.split(key, 200), words, num_swaps, order) ^ words
    changed = np.stack([bits(one) for one in changed])
    assert np.all(changed.sum(axis=1) == 2 * num_swaps)
    assert np.all((changed & bits(words)).sum(axis=1) == num_swaps)
    drawn = changed.sum(axis=0)[np.asarray(order)]
    assert drawn[: SIZE // 20].sum() >= 5 * 0.05 * drawn.sum()
    assert drawn[SIZE // 2 :].sum() >= 0.05 * drawn.sum(), "the far end is never reached"
    if num_swaps == 1:  # 64 pairs are too many for places that are all different
        assert drawn[: SIZE // 20].sum() == pytest.approx(0.5 * drawn.sum(), rel=0.2)


@pytest.mark.parametrize(("size", "num_kept"), [(2, 1), (33, 1), (33, 32), (40, 20), (1000, 3)])
def test_near_exchange_keeps_the_count_of_tiny_and_lopsided_masks(size, num_kept, key):
    order = jnp.arange(size, dtype=jnp.int32)
    words = random_mask(key, num_kept, size)
    exchanged = jax.jit(jax.vmap(exchange_near, (0, None, None, None)))
    children = exchanged(jax.random.split(key, 200), words, 3, order)
    assert {bits(one, size).sum() for one in children} == {num_kept}
    assert {int(masks.count_bits(one)) for one in children} == {num_kept}, "bits behind the end"
    assert not np.all(children == words)


def test_near_exchange_leaves_fixed_bits_alone(key):
    fixed = masks.pack(jnp.arange(SIZE) % 3 == 0)
    words, order = random_mask(key), jnp.arange(SIZE, dtype=jnp.int32)
    changed = bits(exchange_near(key, words, 64, order, fixed)) != bits(words)
    assert changed.any()
    assert not (changed & bits(fixed)).any()


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


@pytest.mark.parametrize(
    ("size", "num_kept"), [(2, 1), (20, 6), (33, 32), (1024, 300), (SIZE, 1000)]
)
def test_balanced_choices_keep_the_count_and_are_reversed_once(size, num_kept, key):
    first_key, second_key, key = jax.random.split(key, 3)
    first, second = (random_mask(k, num_kept, size) for k in (first_key, second_key))
    for choice_key in jax.random.split(key, 30):
        choice = packed.cheap_bits(choice_key, len(first))
        found = packed.balanced(choice_key, first, second, choice)
        assert int(masks.count_bits((first & found) | (second & ~found))) == num_kept
        reversed_ = bits(choice ^ found, 32 * len(first))
        assert np.all(np.diff(reversed_.astype(int)) >= 0)


@pytest.mark.parametrize("choice", [0, 0xFFFFFFFF], ids=["all from one", "all from the other"])
def test_a_choice_that_is_balanced_may_be_reversed_where_the_parents_are_level(choice, key):
    first, second = (random_mask(k) for k in jax.random.split(key))
    found = packed.balanced(key, first, second, jnp.full_like(first, jnp.uint32(choice)))
    assert int(masks.count_bits((first & found) | (second & ~found))) == 1000


def test_balanced_uniform_crossover_takes_every_weight_from_either_parent_alike(key):
    first, second = (random_mask(k) for k in jax.random.split(key))

    def choice(key):
        coin_key, balance_key = jax.random.split(key)
        coins = packed.cheap_bits(coin_key, len(first))
        return masks.unpack(packed.balanced(balance_key, first, second, coins), SIZE)

    from_first = np.asarray(jax.jit(jax.vmap(choice))(jax.random.split(key, 2000))).mean(axis=0)
    # Where a bit is set tells a little of which way the excess was, hence of what is reversed.
    assert np.all(np.abs(from_first - 0.5) < 6 * 0.5 / np.sqrt(2000))


def test_coins_are_fair_and_independent(key):
    coins = jax.vmap(lambda k: packed.cheap_bits(k, 4096))(jax.random.split(key, 8))
    flips = np.unpackbits(np.asarray(coins).view(np.uint8).reshape(8, -1), axis=1)
    signs = 2.0 * flips.reshape(8 * 4096, 32) - 1
    assert abs(signs.mean()) < 5 / np.sqrt(signs.size)
    correlation = signs.T @ signs / len(signs) - np.eye(32)  # between bits of a word
    assert np.abs(correlation).max() < 5.5 / np.sqrt(len(signs))
    for lag in (1, 2, 32, 4096):  # between words, and between keys
        assert abs((signs[lag:] * signs[:-lag]).mean()) < 5 / np.sqrt(signs.size)
    assert len(np.unique(np.asarray(coins))) > 0.999 * coins.size
