"""The (1 + lambda) evolver, and what becomes of duplicates."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPACES

from jgaprune.evolvers import level_switch
from jgaprune.evolvers.duplicates import without_duplicates
from jgaprune.packed import fingerprint
from jgaprune.types import MaskSpace


def _one_more(key, genome, strength):
    return genome + 1


def _never(*arguments):
    raise AssertionError("this evolver only mutates")


COUNTING = MaskSpace(_never, _never, None, _one_more, _never)
"""Genomes that every mutation raises by one."""


def counted(genomes):
    return genomes[:, 0].tolist()


def test_the_best_of_parent_and_children_is_the_next_parent(key):
    evolver = level_switch(COUNTING, population=3)
    state = evolver.init(key, jnp.array([[5], [9], [7]]), jnp.array([2.0, 1.0, 3.0]))
    assert counted(state.genomes) == [9]
    children = jnp.array([[10], [11], [12]])
    for fitness, expected in (
        ([4.0, 3.0, 2.0], 9),
        ([4.0, 0.5, 2.0], 11),
        ([4.0, 2.0, 0.5], 12),  # as good as the parent
        ([jnp.inf, jnp.inf, jnp.inf], 12),
    ):
        state = evolver.tell(key, children, jnp.array(fitness), state)
        assert counted(state.genomes) == [expected]


def test_children_are_mutants_of_the_parent_and_duplicates_mutated_once_more(key):
    evolver = level_switch(COUNTING, population=4)
    state = evolver.init(key, jnp.array([[0]]), jnp.array([1.0]))
    children, after = jax.jit(evolver.ask)(key, state)
    assert counted(children) == [1, 2, 2, 2]
    assert counted(after.genomes) == [0]


def test_children_like_known_genomes_or_earlier_children_are_mutated(key):
    children = jnp.array([[3], [4], [3], [7], [7]])
    prints = jax.vmap(fingerprint)
    known = prints(jnp.array([[4], [100]]))
    resolve = jax.jit(partial(without_duplicates, COUNTING))
    found, after = resolve(key, children, prints(children), known, jnp.ones(5))
    assert counted(found) == [3, 5, 4, 7, 8]
    assert np.array_equal(after, prints(found))


def test_a_planted_genome_is_found(key):
    space = SPACES["levels"].space
    target = jnp.array([9, -4, -5], jnp.int32)
    evolver = level_switch(space, population=8)
    genomes = jnp.zeros((1, 3), jnp.int32)

    def distance(genomes):
        return jnp.sum(jnp.abs(genomes - target), axis=1).astype(jnp.float32)

    def generation(state, key):
        genomes, state = evolver.ask(key, state)
        return evolver.tell(key, genomes, distance(genomes), state), None

    state = evolver.init(key, genomes, distance(genomes))
    state, _ = jax.jit(lambda state: jax.lax.scan(generation, state, jax.random.split(key, 25)))(
        state
    )
    assert float(state.fitness[0]) == 0.0


@pytest.mark.parametrize("dtype", ["uint32", "int32", "float32", "bool", "float16", "uint8"])
def test_fingerprints_tell_genomes_apart(dtype):
    genome = (jnp.arange(257) % 2).astype(dtype)
    different = [genome.at[i].set((genome[i] == 0).astype(dtype)) for i in (0, 1, 32, 256)]
    different += [jnp.roll(genome, 1), genome[:-1], jnp.zeros_like(genome)]
    prints = [int(fingerprint(one)) for one in (genome, *different)]
    assert len(set(prints)) == len(prints)
    assert int(jax.jit(fingerprint)(genome)) == prints[0]


def test_fingerprints_of_many_are_all_different():
    genomes = jnp.arange(20_000, dtype=jnp.uint32)[:, None] * jnp.array([1, 3], jnp.uint32)
    prints = jax.jit(jax.vmap(fingerprint))(genomes)
    assert len(np.unique(prints)) >= 20_000 - 2


def test_impossible_settings_are_explained():
    with pytest.raises(ValueError, match=r"strength must rise.*population must be at least 1"):
        level_switch(COUNTING, population=0, strength=(0.5, 0.1))
