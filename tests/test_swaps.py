"""Swaps that a gradient proposes: what they keep, what they find, and what they count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    BUDGET,
    INPUTS,
    LABELS,
    LAYOUT,
    MODEL,
    SPACES,
    SPARSITY,
    base,
    count,
    trees_equal,
)
from jax.tree_util import Partial

import jgaprune as jp
from jgaprune import spaces, training
from jgaprune.masks import Layout
from jgaprune.types import Score

PLAIN = SPACES["weights"].space
TOY = Layout(("w",), ((12, 8),))
TOY_INPUTS = jax.random.normal(jax.random.key(8), (64, 12))
WEIGHTS = jnp.where(jnp.arange(96).reshape(12, 8) % 2 == 0, 1.5, -1.0)


def _calls(params, inputs):
    """A loss that is cheap, and says when it is asked."""
    jax.debug.callback(ASKED.append, True)
    return sum(jnp.sum(jnp.square(params[name])) for name in LAYOUT.names)


ASKED: list[bool] = []


def _far_from(target, params, inputs):
    return jnp.square(inputs @ params["w"] - inputs @ target).mean()


def wrapped(chance=1.0, loss=None, **settings):
    loss = loss or training.imitation(MODEL)
    settings = {"batch": 8, "vary": jp.inputs.vary, **settings}
    return training.gradient_swaps(
        PLAIN, loss, MODEL.params, base(), LAYOUT, INPUTS, chance=chance, **settings
    )


@pytest.fixture(scope="module")
def space():
    return wrapped(swap_fraction=1.0)


@pytest.fixture(scope="module")
def mutate(space):
    return jax.jit(space.mutate)


@pytest.mark.parametrize("strength", [0.0, 0.01, 1.0])
def test_the_budget_is_exact_and_protected_weights_never_move(mutate, strength, key):
    protected = {name: np.isposinf(one) for name, one in base().items()}
    for one in jax.random.split(key, 3):
        genome = PLAIN.sample(one)
        masks = PLAIN.decode(mutate(one, genome, jnp.float32(strength)))
        assert count(masks) == BUDGET
        assert all(np.asarray(masks[name])[always].all() for name, always in protected.items())
        assert trees_equal(masks, PLAIN.decode(genome)) == (strength == 0.0)


def test_same_key_same_child_other_key_other_child(mutate, key):
    genome, strength = PLAIN.sample(key), jnp.float32(0.1)
    first, again, other = (mutate(one, genome, strength) for one in (key, key, jax.random.key(1)))
    assert trees_equal(first, again) and not trees_equal(first, other)


def test_only_the_mutation_changes(space, key):
    first, second = PLAIN.sample(key), PLAIN.sample(jax.random.key(1))
    assert trees_equal(space.cross(key, first, second), PLAIN.cross(key, first, second))
    assert space._replace(mutate=None, mutation_cost=0.0) == PLAIN._replace(mutate=None)


def planted():
    """A space, the masks of the target, and a genome in which one good weight is missing."""
    kept = jax.random.permutation(jax.random.key(3), jnp.arange(96) < 24).reshape(12, 8)
    flat = np.asarray(kept).reshape(-1)
    good, bad = int(np.flatnonzero(flat)[5]), int(np.flatnonzero(~flat)[5])
    plain = spaces.weights({"w": jnp.ones((12, 8))}, TOY, 0.75)
    spoilt = kept.reshape(-1).at[good].set(False).at[bad].set(True).reshape(12, 8)
    space = training.gradient_swaps(
        plain,
        Partial(_far_from, jnp.where(kept, WEIGHTS, 0.0)),
        {"w": WEIGHTS},
        {"w": jnp.ones((12, 8))},
        TOY,
        TOY_INPUTS,
        chance=1.0,
        swap_fraction=1 / 24,
    )
    return space, kept, plain.encode({"w": spoilt}), (good, bad)


def test_a_missing_weight_returns_and_a_useless_one_leaves_whenever_they_may():
    space, kept, genome, (good, bad) = planted()
    keys = jax.random.split(jax.random.key(0), 64)
    children = jax.jit(jax.vmap(space.mutate, in_axes=(0, None, None)))(keys, genome, 1.0)
    masks = np.asarray(jax.vmap(space.decode)(children)["w"]).reshape(64, -1)
    assert (masks.sum(axis=1) == 24).all()
    returned, left = masks[:, good], ~masks[:, bad]
    # Each is a candidate half of the time, and then the best one.
    assert 20 <= returned.sum() <= 44 and 20 <= left.sum() <= 44
    whole = (masks == np.asarray(kept).reshape(-1)).all(axis=1)
    assert (whole == (returned & left)).all() and whole.sum() >= 6


def test_jit_and_vmap_change_nothing():
    space, _, genome, _ = planted()
    keys = jax.random.split(jax.random.key(0), 4)
    eager = jnp.stack([space.mutate(key, genome, jnp.float32(1.0)) for key in keys])
    jitted = jax.jit(jax.vmap(space.mutate, in_axes=(0, None, None)))(keys, genome, 1.0)
    assert trees_equal(eager, jitted)


def test_a_gradient_is_taken_only_where_it_is_drawn(key):
    space = wrapped(0.3, Partial(_calls))
    keys = jax.random.split(key, 40)
    genome = PLAIN.sample(key)
    ASKED.clear()
    mutate = jax.jit(jax.vmap(space.mutate, in_axes=(0, None, None)))
    jax.block_until_ready(mutate(keys, genome, jnp.float32(0.1)))
    jax.effects_barrier()
    assert 4 <= len(ASKED) <= 22


def _kept(key, masks):
    kept = jnp.sum(masks["conv1.kernel"])
    return Score(-kept.astype(jnp.float32), kept, kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("screen", "expected"), [(None, 6 + 3), (jp.Screen(_kept, 2, 0.25), 4 + 3)]
)
def test_what_gradients_cost_is_counted_rounded_up(screen, expected, key):
    space = wrapped(0.3, Partial(_calls), batch=8)  # 3 * 8 / 16 evaluations each
    assert space.mutation_cost == pytest.approx(0.45)
    evolver = jp.evolvers.genetic(space, population=6)
    search = jp.build_search(space, _kept, evolver, population=6, screen=screen)
    state, record = search.init(key)
    assert int(record.evaluations) == 6 and search.children(state) == expected
    _, records = search.run(state, 3)
    assert np.diff(records.evaluations).tolist() == [expected] * 2


@pytest.mark.parametrize(
    "fault", [{"chance": 0.0}, {"chance": 1.5}, {"batch": 0}, {"swap_fraction": 0.0}]
)
def test_impossible_settings_are_refused(fault):
    with pytest.raises(ValueError, match="must be in"):
        wrapped(**fault)


def prune(**changed):
    given = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "population": 4}
    return jp.prune(MODEL, **{**given, "space": "weights", "evaluations": 24, **changed})


@pytest.mark.slow
def test_prune_asks_gradients_counts_them_and_says_so():
    report = prune()
    assert report.settings["gradient_swaps"] is True
    # All 16 inputs, half of the time: 1.5 evaluations per child.
    assert report.history.evaluations == [4, 14, 24]
    assert report.history.best == sorted(report.history.best, reverse=True)
    assert count(report.masks) == BUDGET


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"gradient_swaps": False},
        {"train_steps": 0},
        {"evolver": "random_search"},
        {"objective": "accuracy", "labels": LABELS},
    ],
    ids=["off", "no training", "nothing mutates", "labels"],
)
def test_no_gradient_is_asked_where_it_is_not_to_be(change):
    report = prune(**change)
    assert report.settings["gradient_swaps"] is False
    assert np.diff(report.history.evaluations).tolist() == [4] * 5
