"""Laws of islands on one device: apart they are searches of their own, and only the fit settle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import LAYOUT, OBJECTIVES, SPACES, trees_equal

import jgaprune as jp
from jgaprune.engine import survivors_of
from jgaprune.engine.migration import settled, take_fittest
from jgaprune.evolvers.genetic import GeneticState, Traits

SPACE = SPACES["weights"].space
OBJECTIVE = OBJECTIVES["logit_mse"]
POPULATION, ISLANDS = 4, 3


def search(islands=ISLANDS, seeds=None, **settings):
    evolver = jp.evolvers.genetic(SPACE, population=POPULATION)
    return jp.build_search(
        SPACE,
        OBJECTIVE,
        evolver,
        population=POPULATION,
        seeds=seeds,
        islands=islands,
        **settings,
    )


def some_genomes(key, count):
    return jax.vmap(SPACE.sample)(jax.random.split(key, count))


@pytest.mark.slow
def test_islands_that_exchange_nothing_are_searches_of_their_own(key):
    seeds = some_genomes(jax.random.key(3), 4)
    together = search(seeds=seeds, migrate_every=100)
    state, _ = together.init(key)
    state, records = together.run(state, 2)
    alone, best = [], []
    for index in range(ISLANDS):
        one = search(islands=1, seeds=seeds[index::ISLANDS])
        own, _ = one.init(jax.random.fold_in(key, index))
        own, record = one.run(own, 2)
        alone.append(own)
        best.append(np.asarray(record.best))
    assert trees_equal(
        state.evolver.islands, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    )
    assert np.array_equal(records.best, np.min(best, axis=0))
    assert int(state.evaluations) == sum(int(own.evaluations) for own in alone)
    assert int(state.evaluations) == int(records.evaluations[-1]) == 3 * ISLANDS * POPULATION


@pytest.mark.slow
def test_the_best_goes_round_the_ring(key):
    """After as many exchanges as there are islands, every island is as good as any was."""
    whole = search(migrate_every=1)
    state, first = whole.init(key)
    assert whole.children(state) == ISLANDS * POPULATION
    state, records = whole.run(state, ISLANDS - 1)
    assert np.all(np.min(state.evolver.islands.evolver.fitness, axis=1) <= float(first.best))
    assert np.all(np.diff(records.best) <= 0)
    members = survivors_of(state)
    assert members["fitness"].shape == (ISLANDS * POPULATION,)
    assert float(members["fitness"].min()) == float(state.best.fitness)


def test_the_best_is_no_worse_than_the_best_seed(key):
    seeds = some_genomes(jax.random.key(4), 7)
    scores = [float(OBJECTIVE(key, SPACE.decode(seed)).fitness) for seed in seeds]
    _, first = search(seeds=seeds).init(key)
    assert float(first.best) <= min(scores) * (1 + 1e-4)


def population_of(genomes, fitness):
    values = jnp.asarray(fitness, jnp.float32)
    traits = Traits(jnp.arange(len(fitness), dtype=jnp.uint32), values / 10)
    return GeneticState(genomes, values, traits, traits, jnp.int32(0))


def test_immigrants_take_the_places_of_worse_ones_only(key):
    genomes = some_genomes(key, 7)
    here = population_of(genomes[:4], [3.0, 1.0, jnp.inf, 2.0])
    there = population_of(genomes[4:], [2.5, 0.5, 9.0])
    arriving = take_fittest(there, 3)
    assert arriving["fitness"].tolist() == [0.5, 2.5, 9.0]
    after = settled(here, arriving)
    assert after.fitness.tolist() == [2.5, 1.0, 0.5, 2.0]
    assert np.array_equal(after.genomes[2], genomes[5])
    assert np.array_equal(after.genomes[0], genomes[4])
    assert after.traits.strength.tolist() == pytest.approx([0.25, 0.1, 0.05, 0.2])
    assert after.traits.prints.tolist() == [0, 1, 1, 3]


def test_who_lives_there_already_does_not_settle_twice(key):
    genomes = some_genomes(key, 4)
    here = population_of(genomes, [3.0, 1.0, 4.0, 2.0])
    assert trees_equal(settled(here, take_fittest(here, 2)), here)


def test_the_space_of_these_tests_has_other_genomes_for_other_keys(key):
    """Guards the test above against genomes that are all alike."""
    assert len(np.unique(np.asarray(some_genomes(key, 4)), axis=0)) == 4
    assert len(LAYOUT.names) > 1
