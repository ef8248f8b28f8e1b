import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import trees_equal

import jgaprune as jp
from jgaprune.masks import Layout, count_bits
from jgaprune.ops import make_rows, replace_rows, rows

WAYS = pytest.mark.parametrize(
    ("large_bytes", "room"),
    [(0, 2**40), (2**40, 2**40), (2**40, 2 * 64 * 16)],
    ids=["one_by_one", "together", "two_at_once"],
)


def fresh_jit(function):
    """Compiles anew, though the function was compiled before: it depends on the constant below."""
    return jax.jit(lambda *arguments: function(*arguments))


@pytest.fixture
def way(large_bytes, room, monkeypatch):
    monkeypatch.setattr(rows, "_LARGE_BYTES", large_bytes)
    monkeypatch.setattr(rows, "_ROOM", {"cpu": room})


@WAYS
@pytest.mark.usefixtures("way")
def test_rows_are_those_of_vmap(key):
    numbers, keys = jnp.arange(5.0), jax.random.split(key, 5)

    def row(number, key):
        return {"a": number + jax.random.uniform(key, (3,)), "b": number}

    assert trees_equal(make_rows(row, numbers, keys), jax.vmap(row)(numbers, keys))


@WAYS
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("places", [[4, 4, 4], [2, 4, 0], [3, 1, 2]])
def test_rows_take_the_places_of_others(places):
    old = {"a": jnp.zeros((4, 2)), "b": jnp.arange(4)}
    new = {"a": jnp.arange(1.0, 7.0).reshape(3, 2), "b": jnp.arange(10, 13)}
    found = fresh_jit(replace_rows)(old, new, jnp.array(places))
    expected = jax.tree.map(np.array, old)
    for row, place in enumerate(places):
        if place < 4:
            expected["a"][place], expected["b"][place] = new["a"][row], new["b"][row]
    assert trees_equal(found, expected)


@WAYS
@pytest.mark.usefixtures("way")
def test_the_best_of_parents_and_children_survive_in_their_places(key):
    layout = Layout(("w",), ((100,),))
    space = jp.spaces.weights({"w": jnp.ones(100)}, layout, 0.5)
    evolver = jp.evolvers.genetic(space, population=6)
    genomes = jax.vmap(space.sample)(jax.random.split(key, 6))
    parents = jnp.array([3.0, 1.0, 4.0, 1.0, 5.0, jnp.inf])
    state = evolver.init(key, genomes, jnp.arange(6.0))._replace(fitness=parents)
    children, state = fresh_jit(evolver.ask)(key, state)
    assert jax.vmap(count_bits)(children).tolist() == [50] * 6
    fitness = jnp.array([1.0, 2.0, 9.0, jnp.inf, 0.5, 4.0])
    state = fresh_jit(evolver.tell)(key, children, fitness, state)
    assert sorted(state.fitness.tolist()) == [0.5, 1, 1, 1, 2, 3]
    assert state.fitness[jnp.array([0, 1, 3])].tolist() == [3, 1, 1]
    known = {tuple(row): float(value) for row, value in zip(genomes.tolist(), parents, strict=True)}
    known |= {
        tuple(row): float(value) for row, value in zip(children.tolist(), fitness, strict=True)
    }
    for genome, value in zip(state.genomes.tolist(), state.fitness, strict=True):
        assert known[tuple(genome)] == float(value)


@pytest.mark.slow
def test_an_update_is_the_same_one_by_one_and_together(key, monkeypatch):
    layout = Layout(("w",), ((5000,),))
    space = jp.spaces.weights({"w": jnp.ones(5000)}, layout, 0.8)
    evolver = jp.evolvers.genetic(space, population=8)
    genomes = jax.vmap(space.sample)(jax.random.split(key, 8))
    state = evolver.init(key, genomes, jnp.arange(8.0))
    proposed = []
    for large_bytes in (0, 2**40):
        monkeypatch.setattr(rows, "_LARGE_BYTES", large_bytes)
        proposed.append(fresh_jit(evolver.ask)(key, state)[0])
    assert trees_equal(*proposed)
