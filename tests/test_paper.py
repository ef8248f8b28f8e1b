"""The paper's evolver: agreement with a transcription, sizes, selection, compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import paper_reference as reference
import pytest
from jax.tree_util import Partial

from jgaprune.engine import build_search
from jgaprune.evolvers.paper import (
    PaperState,
    complement,
    paper,
    reciprocal,
    select,
    selection_weights,
)
from jgaprune.evolvers.schedule import (
    CIFAR10_SCHEDULE,
    MNIST_SCHEDULE,
    Schedule,
    initial_population,
)
from jgaprune.masks import count_kept
from jgaprune.model import Model
from jgaprune.spaces.scores import cut_points, mutation_draws, scores
from jgaprune.types import Score

SIZES = (12, 20)
GENES = sum(SIZES)
STRATEGIES = [1, 2, 3, 4, 5]


def forward(params, inputs):
    return (inputs @ params["one"]) @ params["two"]


@pytest.fixture
def space():
    params = {"one": jnp.ones((3, 4)), "two": jnp.ones((4, 5))}
    return scores(Model.from_fn(forward, params, (3,)), 0.5)


@pytest.fixture
def key():
    return jax.random.key(11)


def population_of(space, key, size, low=0.0, high=1.0):
    """A population with fitness spread evenly, in random order, over low..high."""
    sample_key, order_key = jax.random.split(key)
    genomes = jax.vmap(space.sample)(jax.random.split(sample_key, size))
    fitness = jnp.linspace(low, high, size + 2)[1:-1]
    return PaperState(genomes, jax.random.permutation(order_key, fitness))


def draws_of(ask_key, num_pairs):
    """The random numbers that `ask` draws, for the transcription."""
    select_key, pairs_key = jax.random.split(ask_key)
    parent_draws = np.asarray(jax.random.uniform(select_key, (num_pairs, 2)))
    for pair_key, parents in zip(jax.random.split(pairs_key, num_pairs), parent_draws, strict=True):
        cross_key, *mutate_keys = jax.random.split(pair_key, 3)
        mutations = [[np.asarray(d) for d in mutation_draws(k, GENES)] for k in mutate_keys]
        yield parents, np.asarray(cut_points(cross_key, SIZES)), mutations


def size_after(evolver, state):
    """Number of children of one generation, and size of the population after it."""
    key = jax.eval_shape(jax.random.key, 0)
    children, _ = jax.eval_shape(evolver.ask, key, state)
    num = children.shape[0]
    after = jax.eval_shape(evolver.tell, key, children, jnp.zeros(num), state)
    return num, after.fitness.shape[0]


def generation(evolver, key, state):
    """One generation with the error of each child taken from its first gene."""
    genomes, state = evolver.ask(key, state)
    fitness = jnp.clip(jnp.abs(genomes[:, 0]), 0.0, 1.0)
    return genomes, evolver.tell(key, genomes, fitness, state)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("current", [8, 11])
def test_generation_agrees_with_the_paper_gene_by_gene(space, key, strategy, current):
    schedule = Schedule(((0.0, 11, 0.25),))
    state = population_of(space, key, current)
    evolver = paper(space, strategy=strategy, schedule=schedule).restage(state)
    ask_key = jax.random.key(5)
    children, after = jax.jit(generation)(evolver, ask_key, state)
    parents = [[row[: SIZES[0]], row[SIZES[0] :]] for row in np.asarray(state.genomes)]
    expected, num_kept = reference.next_generation(
        parents, 1 - np.asarray(state.fitness), strategy, 11, 0.25, draws_of(ask_key, 6)
    )
    np.testing.assert_array_equal(after.genomes, [np.concatenate(each) for each in expected])
    assert children.shape[0] == len(expected) - num_kept


@pytest.mark.parametrize(
    ("strategy", "schedule", "sizes"),
    [
        (1, "mnist", [50, 100, 150, 300, 600, 600]),
        (3, "mnist", [50, 100, 150, 300, 600, 600]),
        (4, "mnist", [51, 101, 150, 301, 600, 600]),
        (1, "cifar10", [30, 60, 100, 200, 300, 300]),
        (5, "cifar10", [31, 61, 100, 200, 300, 300]),
    ],
)
def test_population_follows_the_schedule(space, strategy, schedule, sizes):
    stages = {"mnist": MNIST_SCHEDULE, "cifar10": CIFAR10_SCHEDULE}[schedule].stages
    size = initial_population(schedule)
    evolver = paper(space, strategy=strategy, schedule=schedule)
    # Generation 0 lies below the first threshold, every later one just above the next.
    means = [stages[1][0] - 0.01, *(threshold + 0.01 for threshold, _, _ in stages[1:]), 0.99]
    seen = []
    for mean in means:
        state = PaperState(jnp.zeros((size, GENES)), jnp.full(size, 1 - mean))
        evolver = evolver.restage(state)
        _, size = size_after(evolver, state)
        seen.append(size)
    assert seen == sizes


def test_schedule_looks_at_the_last_mean_only_and_thresholds_are_exclusive():
    assert MNIST_SCHEDULE.stage(0.8) == (50, 0.15)
    assert MNIST_SCHEDULE.stage(0.81) == (100, 0.1)
    assert MNIST_SCHEDULE.stage(0.97) == (600, 0.01)
    assert MNIST_SCHEDULE.stage(0.86) == (150, 0.05)
    assert CIFAR10_SCHEDULE.stage(0.0) == (30, 0.2)


@pytest.mark.parametrize(("strategy", "kept"), [(1, 0), (2, 0), (3, 6), (4, 15), (5, 15)])
def test_the_kept_ones_are_the_best_and_keep_their_fitness(space, key, strategy, kept):
    state = population_of(space, key, 30)
    evolver = paper(space, strategy=strategy, schedule="cifar10").restage(state)
    children, after = jax.jit(generation)(evolver, key, state)
    best = np.argsort(np.asarray(state.fitness))[:kept]
    assert after.fitness.shape[0] - children.shape[0] == kept
    np.testing.assert_array_equal(after.genomes[:kept], state.genomes[best])
    np.testing.assert_array_equal(after.fitness[:kept], state.fitness[best])
    np.testing.assert_array_equal(after.genomes[kept:], children)


@pytest.mark.parametrize("power", [1, 2])
def test_parents_are_drawn_in_proportion_to_quality(key, power):
    quality = jnp.array([0.9, 0.0, 0.1, 0.5, 0.3, jnp.nan, -jnp.inf])
    drawn = select(selection_weights(quality, power), jax.random.uniform(key, (20_000, 2)))
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=7)
    useful = [0, 2, 3, 4]
    assert counts[[1, 5, 6]].tolist() == [0, 0, 0]
    expected = np.asarray(quality)[useful] ** power
    expected *= 40_000 / expected.sum()
    assert np.sum((counts[useful] - expected) ** 2 / expected) < 16.3  # p = 0.001, 3 degrees


@pytest.mark.parametrize("fitness", [jnp.inf, 1.0, 3.0])
def test_a_useless_population_is_drawn_from_uniformly(key, fitness):
    weights = selection_weights(complement(jnp.full(4, fitness)), 2)
    counts = np.bincount(np.asarray(select(weights, jax.random.uniform(key, (8000,)))))
    assert np.sum((counts - 2000) ** 2 / 2000) < 16.3


def test_failed_members_are_neither_parents_nor_in_the_mean_quality(space, key):
    state = population_of(space, key, 30, 0.1, 0.2)
    state = state._replace(fitness=state.fitness.at[::2].set(jnp.inf))
    evolver = paper(space, strategy=4, schedule="cifar10").restage(state)
    assert size_after(evolver, state) == (16, 31)  # mean quality 0.425, the first stage
    sane = paper(space, schedule=Schedule(((0.0, 30, 0.0),))).restage(state)
    unmutated, _ = jax.jit(sane.ask)(key, state)
    assert not np.isin(np.asarray(unmutated), np.asarray(state.genomes[::2])).any()


def test_reciprocal_quality_falls_from_one_to_zero():
    quality = reciprocal(jnp.array([-1.0, 0.0, 1.0, 3.0, jnp.inf]))
    assert quality.tolist() == [1.0, 1.0, 0.5, 0.25, 0.0]


def test_a_shrinking_population_still_has_children(space, key):
    state = population_of(space, key, 40)
    evolver = paper(space, strategy=4, schedule=Schedule(((0.0, 10, 0.1),))).restage(state)
    assert size_after(evolver, state) == (2, 22)


def test_an_unchanged_stage_does_not_recompile(space, key):
    step = jax.jit(lambda *arguments: generation(*arguments))
    state = population_of(space, key, 30)
    evolver = paper(space, strategy=4, schedule="cifar10")
    sizes = []
    for _ in range(4):
        evolver = evolver.restage(state._replace(fitness=jnp.full_like(state.fitness, 0.9)))
        _, state = step(evolver, key, state)
        sizes.append(state.fitness.shape[0])
    assert sizes == [31, 31, 31, 31]
    assert step._cache_size() == 2  # once from 30, once from 31


@pytest.mark.parametrize("strategy", [1, 5])
def test_mean_quality_rises(space, key, strategy):
    schedule = Schedule(((0.0, 40, 0.05),))
    state = population_of(space, key, 40)
    evolver = paper(space, strategy=strategy, schedule=schedule)
    state = state._replace(fitness=jnp.abs(state.genomes[:, 0]))
    start = float(jnp.mean(state.fitness))
    step = jax.jit(generation)
    for step_key in jax.random.split(key, 30):
        evolver = evolver.restage(state)
        _, state = step(evolver, step_key, state)
    assert float(jnp.mean(state.fitness)) < start - 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": 6}, "strategy must be one of"),
        ({"schedule": "imagenet"}, "schedule must be one of mnist, cifar10"),
        ({"schedule": Schedule(())}, "no stage"),
        ({"schedule": Schedule(((0.0, 1, 0.1), (0.5, 4, 2.0)))}, "population.*1; rate.*2"),
        ({"schedule": Schedule(((0.5, 4, 0.1), (0.2, 4, 0.1)))}, "ascend"),
    ],
)
def test_wrong_settings_are_refused(space, settings, message):
    with pytest.raises(ValueError, match=message):
        paper(space, **settings)


def budget_objective(key, masks):
    """Share of wanted weights that are missing: half of them are wanted."""
    missing = [jnp.sum(~mask.reshape(-1)[::2]) for mask in masks.values()]
    fitness = sum(missing).astype(jnp.float32) / (GENES // 2)
    return Score(fitness, fitness, count_kept(masks))


def test_the_engine_follows_a_growing_population(space, key):
    schedule = Schedule(((0.0, 6, 0.1), (0.4, 9, 0.1)))
    evolver = paper(space, strategy=4, schedule=schedule)
    search = build_search(space, Partial(budget_objective), evolver, population=6)
    state, _ = search.init(key)
    state = state._replace(evolver=state.evolver._replace(fitness=jnp.full(6, 0.7)))
    evaluations = [int(state.evaluations)]
    sizes = []
    for _ in range(2):
        state, _ = search.step(state)
        evaluations.append(int(state.evaluations))
        sizes.append(state.evolver.fitness.shape[0])
    assert np.diff(evaluations).tolist() == [4, 6]  # 3 of 6 kept, then 3 of 7
    assert sizes == [7, 9]
