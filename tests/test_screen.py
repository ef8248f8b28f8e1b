"""Looks before the full evaluation: who survives them, what they cost, and that nobody cheats."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, OBJECTIVES, SPACES, trees_equal
from jax.tree_util import Partial

import jgaprune as jp
from jgaprune import objectives
from jgaprune.engine import SEQUENTIAL, Screen
from jgaprune.engine.evaluate import evaluate, race
from jgaprune.engine.screen import evaluations
from jgaprune.types import Score

SPACE = SPACES["offsets"].space
OBJECTIVE = OBJECTIVES["logit_mse"]
USUAL = float(jnp.mean(SPACE.decode(jnp.zeros(len(LAYOUT.names)))[LAYOUT.names[0]]))
"""Share of the first layer that the genome in the middle of the space keeps."""


def screened(survivors, cost=0.25, population=6, **changes):
    small = objectives.logit_mse(MODEL, inputs=INPUTS[:4])
    return jp.build_search(
        SPACE,
        OBJECTIVE,
        jp.evolvers.genetic(SPACE, population=population),
        population=population,
        screen=Screen(small, survivors=survivors, cost=cost),
        **changes,
    )


def test_a_screen_that_everyone_passes_changes_nothing(key):
    evolver = jp.evolvers.genetic(SPACE, population=6)
    plain, search = jp.build_search(SPACE, OBJECTIVE, evolver, population=6), screened(6)
    first, second = plain.run(plain.init(key)[0], 3), search.run(search.init(key)[0], 3)
    assert trees_equal(first, second)


def test_only_the_promising_are_evaluated_in_full(key):
    genomes = jax.vmap(SPACE.sample)(jax.random.split(key, 8))
    screen = Screen(objectives.logit_mse(MODEL, inputs=INPUTS[:4]), survivors=3, cost=0.5)
    fitness, _ = race(SPACE, OBJECTIVE, (screen,), key, genomes, SEQUENTIAL)
    looks, _ = evaluate(SPACE, screen.objective, key, genomes, SEQUENTIAL)
    expected, _ = evaluate(SPACE, OBJECTIVE, key, genomes, SEQUENTIAL)
    chosen = np.argsort(looks)[:3]
    assert set(np.flatnonzero(np.isfinite(fitness))) == set(chosen.tolist())
    np.testing.assert_allclose(fitness[chosen], expected[chosen], rtol=1e-5)


def test_looks_are_paid_for_and_the_best_is_true(key):
    search = screened(2, cost=0.25)
    state, first = search.init(key)
    assert search.children(state) == 2 + 2
    state, records = search.run(state, 3)
    assert records.evaluations.tolist() == [10, 14, 18]
    best = [float(first.best), *records.best.tolist()]
    assert best == sorted(best, reverse=True)
    again = jax.jit(OBJECTIVE)(key, SPACE.decode(state.best.genome))
    assert float(again.fitness) == pytest.approx(best[-1], rel=1e-4)


@pytest.mark.parametrize(("survivors", "cost"), [(0, 0.5), (2, 0.0), (2, 1.5)])
def test_impossible_screens_are_explained(survivors, cost):
    evolver = jp.evolvers.genetic(SPACE, population=4)
    screen = jp.Screen(OBJECTIVE, survivors=survivors, cost=cost)
    with pytest.raises(ValueError, match="at least 1 survivor|cost of a look"):
        jp.build_search(SPACE, OBJECTIVE, evolver, population=4, screen=screen)


def test_the_cost_of_looks_is_not_rounded_up_for_rounding():
    assert evaluations((jp.Screen(OBJECTIVE, survivors=1, cost=0.07),), 100) == 8


def _shares(key, masks):
    """Fitness that has a robust signal: the share of the first layer that is kept."""
    share = jnp.mean(masks[LAYOUT.names[0]] * 1.0)
    return Score(share, share, jnp.int32(0))


def _noisy(noise, seed, key, masks):
    """The same seen on few inputs: off by a number that depends on the mask."""
    exact = _shares(key, masks)
    weight = sum(
        jnp.sum(mask * 1.0 * jnp.arange(mask.size).reshape(mask.shape)) for mask in masks.values()
    )
    off = noise * jnp.sin(seed + weight)
    return exact._replace(fitness=exact.fitness + off)


def stages(*noises, survivors=(6, 3, 1), objective=_noisy):
    costs = (1 / 16, 1 / 8, 1 / 4)
    return tuple(
        Screen(Partial(objective, noise, jnp.float32(seed)), left, cost)
        for seed, (noise, left, cost) in enumerate(zip(noises, survivors, costs, strict=False))
    )


def test_every_look_chooses_among_those_that_the_one_before_left(key):
    """Against NumPy."""
    genomes = jax.vmap(SPACE.sample)(jax.random.split(key, 12))
    screens = stages(0.2, 0.1)
    fitness, scores = race(SPACE, Partial(_shares), screens, key, genomes, SEQUENTIAL)
    left = np.arange(12)
    for screen in screens:
        looks, _ = evaluate(SPACE, screen.objective, key, genomes, SEQUENTIAL)
        left = left[np.argsort(np.asarray(looks)[left], kind="stable")[: screen.survivors]]
    expected, _ = evaluate(SPACE, Partial(_shares), key, genomes, SEQUENTIAL)
    assert set(np.flatnonzero(np.isfinite(fitness))) == set(left.tolist())
    np.testing.assert_allclose(fitness[left], expected[left], rtol=1e-6)
    assert scores.fitness.shape == (3,)
    direct = np.argsort(evaluate(SPACE, screens[1].objective, key, genomes, SEQUENTIAL)[0])[:3]
    assert set(direct.tolist()) != set(left.tolist())  # the first look mattered


def test_looks_compiled_are_looks_one_by_one(key):
    genomes = jax.vmap(SPACE.sample)(jax.random.split(key, 12))
    arguments = SPACE, Partial(_shares), stages(0.2, 0.1, 0.05), key, genomes
    eager, _ = race(*arguments, SEQUENTIAL)
    compiled, _ = jax.jit(race, static_argnums=5)(*arguments, SEQUENTIAL)
    np.testing.assert_allclose(compiled, eager, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_child_that_is_best_by_more_than_the_noise_survives_every_look(seed):
    genomes = jax.vmap(SPACE.sample)(jax.random.split(jax.random.key(seed), 12))
    genomes = genomes.at[7].set(jnp.zeros(genomes.shape[1]).at[0].set(-9.0))
    exact, _ = evaluate(SPACE, Partial(_shares), jax.random.key(0), genomes, SEQUENTIAL)
    margin = float(jnp.sort(exact)[1] - exact[7])
    assert margin > 0
    noise = 0.45 * margin
    screens = stages(noise, noise, noise)
    fitness, _ = race(SPACE, Partial(_shares), screens, jax.random.key(1), genomes, SEQUENTIAL)
    assert np.flatnonzero(np.isfinite(fitness)).tolist() == [7]


def _nan_where_small(noise, seed, key, masks):
    exact = _shares(key, masks)
    return exact._replace(fitness=jnp.where(exact.fitness < USUAL, jnp.nan, exact.fitness))


def test_nan_at_a_look_never_survives_over_a_finite_one(key):
    genomes = jax.vmap(SPACE.sample)(jax.random.split(key, 16))
    exact, _ = evaluate(SPACE, Partial(_shares), key, genomes, SEQUENTIAL)
    finite = np.flatnonzero(exact >= USUAL)
    assert 3 <= len(finite) < 16
    screens = stages(0.0, 0.0, survivors=(len(finite), 2), objective=_nan_where_small)
    fitness, _ = race(SPACE, Partial(_shares), screens, key, genomes, SEQUENTIAL)
    left = np.flatnonzero(np.isfinite(fitness))
    assert set(left) <= set(finite) and len(left) == 2


def test_the_cost_of_looks_adds_up(key):
    screens = stages(0.1, 0.1, 0.1)
    assert evaluations(screens, 16) == 1 + math.ceil(16 / 16 + 6 / 8 + 3 / 4)
    assert evaluations(screens, 5) == 1 + math.ceil(5 / 8 + 3 / 4)  # all pass the first look
    assert evaluations(screens, 1) == 1
    assert evaluations((), 16) == 16
    evolver = jp.evolvers.genetic(SPACE, population=8)
    search = jp.build_search(SPACE, Partial(_shares), evolver, population=8, screen=screens)
    state, _ = search.init(key)
    _, records = search.run(state, 3)
    assert np.diff([8, *records.evaluations.tolist()]).tolist() == [evaluations(screens, 8)] * 3


def test_one_look_in_a_sequence_is_that_look(key):
    alone = screened(2)
    small = Screen(objectives.logit_mse(MODEL, inputs=INPUTS[:4]), survivors=2, cost=0.25)
    evolver = jp.evolvers.genetic(SPACE, population=6)
    listed = jp.build_search(SPACE, OBJECTIVE, evolver, population=6, screen=[small])
    first, second = (one.run(one.init(key)[0], 3) for one in (alone, listed))
    assert trees_equal(first, second)


def test_looks_that_do_not_fit_are_all_explained():
    screens = [Screen(OBJECTIVE, 4, 0.5), Screen(OBJECTIVE, 4, 0.25), Screen(OBJECTIVE, 0, 0.5)]
    evolver = jp.evolvers.genetic(SPACE, population=4)
    message = "at least 1 survivor.*must fall.*got 4 after 4.*must grow.*got 0.25 after 0.5"
    with pytest.raises(ValueError, match=message):
        jp.build_search(SPACE, OBJECTIVE, evolver, population=4, screen=screens)
