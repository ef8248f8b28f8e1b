"""The default evolver: duplicates, strengths that are inherited, and restarts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgaprune.engine import as_pytree
from jgaprune.evolvers import genetic
from jgaprune.types import MaskSpace


def _nothing(*arguments):
    raise AssertionError("no search asks for this")


def _raised(key, genome, strength):
    return genome + jnp.ceil(strength).astype(jnp.int32)


def _first(key, first, second):
    return first


COUNTING = as_pytree(MaskSpace(_nothing, _nothing, None, _raised, _first, strength=(0.01, 1.0)))
"""Genomes that every mutation raises by one."""
TWINS = jnp.zeros((4, 1), jnp.int32)
RISING = jnp.arange(4.0)


def started(key, genomes=TWINS, fitness=RISING, **settings):
    evolver = genetic(COUNTING, population=4, **settings)
    return evolver, evolver.init(key, genomes, fitness)


def told(evolver, key, state, fitness):
    children, state = evolver.ask(key, state)
    return children, evolver.tell(key, children, jnp.array(fitness), state)


def test_children_like_a_survivor_or_an_earlier_child_are_mutated_once_more(key):
    evolver, state = started(key)
    children, state = told(evolver, key, state, [-1.0, 9.0, 9.0, 9.0])
    assert children[:, 0].tolist() == [1, 2, 2, 2]
    assert sorted(state.genomes[:, 0].tolist()) == [0, 0, 0, 1]
    evolver, state = started(key, jnp.array([[0], [1], [2], [9]]), jnp.array([0.0, 9, 9, 9]))
    children, _ = genetic(COUNTING, population=4, tournament=50).ask(key, state)
    assert children[:, 0].tolist() == [2, 2, 2, 2]


def test_traits_stay_with_their_genomes(key):
    evolver, state = started(key, adaptive=True)
    for _ in range(4):
        fitness = jax.random.uniform(key, (4,), minval=-1.0, maxval=3.0)
        key, _ = jax.random.split(key)
        by_print = dict(
            zip(state.traits.prints.tolist(), state.genomes[:, 0].tolist(), strict=True)
        )
        children, state = told(evolver, key, state, fitness)
        asked = zip(state.asked.prints.tolist(), children[:, 0].tolist(), strict=True)
        by_print |= dict(asked)
        for one, genome in zip(state.traits.prints.tolist(), state.genomes[:, 0], strict=True):
            assert by_print[one] == int(genome)


@pytest.mark.parametrize("best", [0.02, 0.8])
def test_strengths_that_pay_are_inherited(best, key):
    """Fitness is the distance of a child's strength from the best one."""

    def run(evolver, key):
        def generation(state, key):
            genomes, state = evolver.ask(key, state)
            wrong = jnp.abs(jnp.log(state.asked.strength / best))
            return evolver.tell(key, genomes, wrong, state), jnp.median(state.asked.strength)

        state = evolver.init(key, jnp.arange(8)[:, None], jnp.full(8, jnp.inf))
        return jax.lax.scan(generation, state, jax.random.split(key, 20))[1]

    adaptive, drawn = (
        np.abs(np.log(jax.jit(run)(genetic(COUNTING, population=8, adaptive=one), key) / best))
        for one in (True, False)
    )
    assert np.all(adaptive[-5:] < np.log(2))
    assert np.any(drawn[-5:] > np.log(2))


def test_after_long_patience_only_the_best_survives_beside_its_mutants(key):
    evolver, state = started(key, jnp.array([[10], [20], [30], [40]]), patience=2)
    for _ in range(2):
        assert not np.array_equal(state.genomes[:, 0], [10, 11, 12, 12])
        _, state = told(evolver, key, state, [5.0] * 4)
    children, state = told(evolver, key, state, [8.0, 7.0, 9.0, 6.0])
    assert children[:, 0].tolist() == [11, 12, 12, 12]
    assert sorted(state.fitness.tolist()) == [0, 6, 7, 8]
    assert np.all(np.asarray(state.genomes) < 20)
    assert int(state.stale) == 0


def test_a_better_best_renews_patience(key):
    evolver, state = started(key, patience=2)
    for best in (-1.0, -2.0, -3.0):
        _, state = told(evolver, key, state, [5.0, best, 5.0, 5.0])
        assert int(state.stale) == 0
    _, state = told(evolver, key, state, [5.0] * 4)
    assert int(state.stale) == 1


def test_impossible_settings_are_explained():
    with pytest.raises(ValueError, match="tournament must be at least 1.*patience must be"):
        genetic(COUNTING, population=4, tournament=0, patience=0)
