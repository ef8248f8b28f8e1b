import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    EVOLVERS,
    INPUTS,
    LAYOUT,
    MODEL,
    OBJECTIVES,
    SALIENCIES,
    SPACES,
    SPARSITY,
    count,
    inputs_for,
    trees_equal,
)
from jax.tree_util import Partial

import jgaprune as jp
from jgaprune import objectives, saliency, spaces
from jgaprune.engine import SEQUENTIAL, Strategy, programs
from jgaprune.engine.evaluate import evaluate
from jgaprune.engine.generation import Mutation, Parts, next_generation
from jgaprune.types import Score

SPACE = SPACES["offsets"].space
OBJECTIVE = OBJECTIVES["logit_mse"]


def genetic_search(population=6, seeds=None, objective=OBJECTIVE, space=SPACE, strategy=SEQUENTIAL):
    return jp.build_search(
        space,
        objective,
        jp.evolvers.genetic(space, population=population),
        population=population,
        seeds=seeds,
        strategy=strategy,
    )


def seed_genomes(space=SPACE):
    masks = [
        saliency.one_shot(score(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)
        for score in SALIENCIES.values()
    ]
    return masks, jnp.stack([space.encode(one) for one in masks])


@pytest.mark.parametrize("build", EVOLVERS.values(), ids=EVOLVERS.keys())
def test_best_fitness_never_worsens_and_is_true(build, key):
    evolver, population = build(SPACE)
    search = jp.build_search(SPACE, OBJECTIVE, evolver, population=population)
    state, first = search.init(key)
    state, records = search.run(state, 4)
    best = [float(first.best), *records.best.tolist()]
    assert best == sorted(best, reverse=True)
    again = jax.jit(OBJECTIVE)(key, SPACE.decode(state.best.genome))
    assert float(again.fitness) == pytest.approx(best[-1], rel=1e-4)


@pytest.mark.parametrize("build", EVOLVERS.values(), ids=EVOLVERS.keys())
def test_same_key_same_run(build, key):
    def run():
        evolver, population = build(SPACE)
        search = jp.build_search(SPACE, OBJECTIVE, evolver, population=population)
        state, _ = search.init(key)
        return search.run(state, 3)

    assert trees_equal(run(), run())


def test_a_step_may_be_part_of_another_program(key):
    search = genetic_search()
    state, _ = search.init(key)
    _, within = jax.jit(search.step)(state)
    _, alone = search.step(state)
    np.testing.assert_allclose(within, alone, rtol=1e-5)


def test_blocks_of_generations_equal_single_steps(key):
    search = genetic_search()
    state, _ = search.init(key)
    state, together = search.run(state, 3)
    other, _ = search.init(key)
    records = []
    for _ in range(3):
        other, record = search.step(other)
        records.append(record)
    assert trees_equal(state, other)
    assert trees_equal(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *records))


@pytest.mark.slow  # forgets all programs
def test_more_generations_than_one_program_holds(key, monkeypatch):
    monkeypatch.setattr(programs, "BLOCK", 4)
    jax.clear_caches()
    search = genetic_search(population=2)
    state, _ = search.init(key)
    state, records = search.run(state, 9)
    assert records.evaluations.tolist() == [2 + 2 * (i + 1) for i in range(9)]
    jax.clear_caches()


def test_compiled_search_equals_the_plain_one(key):
    plain, compiled = genetic_search(), genetic_search().compile()
    assert trees_equal(plain.run(plain.init(key)[0], 2), compiled.run(compiled.init(key)[0], 2))


def test_a_seeded_search_starts_at_its_best_seed_and_never_falls_below(key):
    masks, genomes = seed_genomes()
    search = genetic_search(seeds=genomes)
    state, first = search.init(key)
    score = jax.jit(OBJECTIVE)
    best_seed = min(float(score(key, one).fitness) for one in masks)
    assert float(first.best) <= best_seed * (1 + 1e-4)
    _, records = search.run(state, 3)
    assert float(records.best[-1]) <= best_seed * (1 + 1e-4)


def test_searches_that_differ_in_arrays_alone_are_traced_once(key):
    traces = []

    def traced(inputs, key, masks):
        traces.append(1)
        loss = sum(jnp.sum(mask * 1.0) for mask in masks.values()) * 0 + jnp.sum(inputs)
        return Score(loss, loss, jnp.int32(0))

    evolver = jp.evolvers.genetic(SPACE, population=4)
    for value in (1.0, 2.0):
        objective = Partial(traced, jnp.array([value]))
        search = jp.build_search(SPACE, objective, evolver, population=4)
        state, _ = search.init(key)
        for _ in range(3):
            state, _ = search.run(state, 2)
    init_and_generation = 2
    assert len(traces) == init_and_generation


def test_equal_settings_built_anew_share_the_program(key):
    programs.block.clear_cache()
    for _ in range(2):
        space = spaces.offsets(saliency.magnitude(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)
        objective = objectives.logit_mse(MODEL, inputs=INPUTS)
        search = genetic_search(objective=objective, space=space)
        search.run(search.init(key)[0], 1)
    assert programs.block._cache_size() == 1


def test_weights_and_inputs_are_arguments_not_constants(key):
    search = genetic_search()
    state, _ = jax.eval_shape(search.init, key)
    evolver, free = jp.evolvers.genetic(SPACE, population=6), Mutation(0.0)
    parts = Parts(SPACE, OBJECTIVE, evolver, (), free)
    jaxpr = jax.make_jaxpr(lambda p, s: next_generation(p, s, SEQUENTIAL))(parts, state)
    largest = max((np.size(const) for const in jaxpr.consts), default=0)
    assert largest < 64


@pytest.mark.parametrize("form", ["vmap", "matmul", "unrolled"])
@pytest.mark.parametrize(
    "chunk", [1, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 6))]
)
def test_every_strategy_gives_the_same_fitness(form, chunk, key):
    genomes = jax.vmap(SPACE.sample)(jax.random.split(key, 6))
    one_by_one, _ = evaluate(SPACE, OBJECTIVE, key, genomes, SEQUENTIAL)
    others, _ = evaluate(SPACE, OBJECTIVE, key, genomes, Strategy(form, chunk))
    np.testing.assert_allclose(others, one_by_one, rtol=2e-4)


def test_permuted_candidates_have_permuted_fitness(key):
    genomes = jax.vmap(SPACE.sample)(jax.random.split(key, 5))
    order = jnp.array([3, 1, 4, 0, 2])
    fitness, _ = evaluate(SPACE, OBJECTIVE, key, genomes, SEQUENTIAL)
    permuted, _ = evaluate(SPACE, OBJECTIVE, key, genomes[order], SEQUENTIAL)
    assert np.array_equal(permuted, fitness[order])


USUAL = float(jnp.mean(SPACE.decode(jnp.zeros(len(LAYOUT.names)))[LAYOUT.names[0]]))
"""Share of the first layer that the genome in the middle of the space keeps."""


def _sometimes_nan(key, masks):
    share = jnp.mean(masks[LAYOUT.names[0]] * 1.0)
    fitness = jnp.where(share > USUAL, jnp.nan, 1.0 - share)
    return Score(fitness, fitness, jnp.int32(0))


@pytest.mark.parametrize("build", EVOLVERS.values(), ids=EVOLVERS.keys())
def test_nan_never_wins_and_is_counted(build, key):
    evolver, population = build(SPACE)
    search = jp.build_search(SPACE, Partial(_sometimes_nan), evolver, population=population)
    state, _ = search.init(key)
    state, records = search.run(state, 4)
    assert 0 < int(state.failures) < int(state.evaluations)
    assert np.isfinite(records.best[-1])
    assert float(jnp.mean(SPACE.decode(state.best.genome)[LAYOUT.names[0]])) <= USUAL


def test_evolution_beats_random_search_at_equal_evaluations(key):
    search = genetic_search(population=8)
    state, _ = search.init(key)
    state, records = search.run(state, 20)
    genomes = jax.vmap(SPACE.sample)(jax.random.split(key, 8 * 21))
    fitness, _ = jax.jit(evaluate, static_argnums=4)(SPACE, OBJECTIVE, key, genomes, SEQUENTIAL)
    assert float(records.best[-1]) < float(fitness.min())


def _distance_to(target, key, masks):
    wrong = sum(jnp.sum(masks[name] != target[name]) for name in target)
    fitness = wrong / LAYOUT.num_weights
    return Score(fitness, fitness, jnp.int32(0))


def test_a_planted_mask_is_recovered(key):
    """Packed bits, from random masks, with a fitness that counts wrong weights."""
    space = SPACES["weights"].space
    target = space.decode(space.sample(jax.random.key(99)))
    evolver = jp.evolvers.genetic(space, population=64, tournament=4, strength=(0.005, 0.1))
    search = jp.build_search(
        space, Partial(_distance_to, target), evolver, population=64, strategy=Strategy("vmap", 64)
    )
    state, first = search.init(key)
    state, records = search.run(state, 300)
    assert float(records.best[-1]) < 0.1 * float(first.best)
    assert count(space.decode(state.best.genome)) == SPACES["weights"].budget


def test_impossible_searches_are_explained(key):
    evolver = jp.evolvers.genetic(SPACE, population=4)
    with pytest.raises(ValueError, match="at least 1"):
        jp.build_search(SPACE, OBJECTIVE, evolver, population=0)
    _, genomes = seed_genomes()
    with pytest.raises(ValueError, match="4 seeds do not fit"):
        jp.build_search(SPACE, OBJECTIVE, evolver, population=3, seeds=genomes)
    with pytest.raises(ValueError, match="leading axis.*jnp.stack"):
        jp.build_search(SPACE, OBJECTIVE, evolver, population=4, seeds=genomes[0])
    packed = SPACES["weights"].space
    sparser = jnp.stack([jnp.zeros_like(packed.sample(key))])
    with pytest.raises(ValueError, match=f"seeds keep 0 .*keeps {SPACES['weights'].budget}"):
        jp.build_search(packed, OBJECTIVE, evolver, population=4, seeds=sparser)
    with pytest.raises(ValueError, match="population must be at least 2.*strength"):
        jp.evolvers.genetic(SPACE, population=1, strength=(0.5, 0.1))
    evolver = jp.evolvers.genetic(SPACE, population=6)
    with pytest.raises(ValueError, match="generation 0 has 4 members"):
        jp.build_search(SPACE, OBJECTIVE, evolver, population=4).init(jax.random.key(0))


def test_inputs_of_another_size_give_another_fitness(key):
    """Guards the tests above against an objective that ignores its inputs."""
    masks = SPACE.decode(SPACE.sample(key))
    other = objectives.logit_mse(MODEL, inputs=inputs_for(MODEL, 8, seed=3))
    assert float(other(key, masks).fitness) != float(OBJECTIVE(key, masks).fitness)
