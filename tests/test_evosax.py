"""evosax's algorithms as evolvers, and our evolvers as evosax algorithms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from evosax.algorithms import CMA_ES, RandomSearch, SimpleGA, algorithms
from evosax.algorithms.population_based.base import PopulationBasedAlgorithm
from jax.tree_util import Partial

from jgaprune.engine import build_search
from jgaprune.evolvers.evosax_class import to_evosax
from jgaprune.evolvers.evosax_evolver import evosax_algorithm, from_evosax
from jgaprune.evolvers.genetic import genetic
from jgaprune.evolvers.paper import paper
from jgaprune.masks import count_kept, keep_top, pack, unpack
from jgaprune.types import MaskSpace, Score

GENES, BITS, KEPT, POPULATION = 20, 40, 15, 16
TARGET = np.linspace(-1.0, 1.0, GENES, dtype=np.float32)
WANTED = np.arange(BITS) % 5 < 2


def sample_real(key):
    return jax.random.normal(key, (GENES,))


def decode_real(genome):
    return {"w": keep_top(genome, GENES // 2)}


def sample_bits(key):
    return pack(keep_top(jax.random.uniform(key, (BITS,)), KEPT))


def decode_bits(words):
    return {"w": unpack(words, BITS)}


def mutate_bits(key, words, strength):
    noise = jax.random.uniform(key, (BITS,))
    return pack(keep_top(unpack(words, BITS) * (1.0 - strength) + noise, KEPT))


def cross_bits(key, first, second):
    bits = unpack(first, BITS).astype(jnp.float32) + unpack(second, BITS)
    return pack(keep_top(bits + jax.random.uniform(key, (BITS,)), KEPT))


REAL = MaskSpace(Partial(sample_real), Partial(decode_real), None, None, None)
PACKED = MaskSpace(
    Partial(sample_bits), Partial(decode_bits), None, Partial(mutate_bits), Partial(cross_bits)
)


def distance(genome):
    return jnp.sum((genome - TARGET) ** 2)


def misses(words):
    return jnp.sum(unpack(words, BITS) != WANTED).astype(jnp.float32)


def real_objective(key, masks):
    wanted = jnp.arange(GENES) % 2 == 0
    fitness = jnp.mean((masks["w"] != wanted).astype(jnp.float32))
    return Score(fitness, fitness, count_kept(masks))


@pytest.fixture
def key():
    return jax.random.key(3)


def first_generation(space, key, size=POPULATION):
    return jax.vmap(space.sample)(jax.random.split(key, size))


def one_generation(evolver, state, key):
    ask_key, tell_key = jax.random.split(key)
    genomes, state = evolver.ask(ask_key, state)
    fitness = jax.vmap(distance)(genomes)
    return evolver.tell(tell_key, genomes, fitness, state), jnp.min(fitness)


@partial(jax.jit, static_argnames="generations")
def scanned(evolver, genomes, key, generations):
    """The best distance of generation 0, and of each later one, in one program."""
    fitness = jax.vmap(distance)(genomes)
    state = evolver.init(key, genomes, fitness)
    keys = jax.random.split(key, generations)
    _, best = jax.lax.scan(lambda state, k: one_generation(evolver, state, k), state, keys)
    return jnp.min(fitness), best


# Its default steps of 1.0, without elitism, only lead away from a good generation 0.
CAREFUL_GA = partial(SimpleGA, std_schedule=optax.constant_schedule(0.1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "share"),
    [
        (CAREFUL_GA, 0.5),
        ("CMA_ES", 0.1),
        ("Open_ES", 0.9),
        ("DifferentialEvolution", 0.5),
        ("PSO", 0.5),
        ("SNES", 0.2),
        ("xNES", 0.7),
    ],
)
def test_the_distance_falls_inside_a_scan(key, build, share):
    build = evosax_algorithm(build) if isinstance(build, str) else build
    evolver = from_evosax(build, REAL, population=POPULATION)
    start, best = scanned(evolver, first_generation(REAL, key), key, 60)
    assert float(jnp.min(best)) < share * float(start)


# At default settings their steps grow or stay too large for this little problem.
WANDERING = {"iAMaLGaM_Univariate", "SimpleGA"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:optax.global_norm is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", algorithms)
def test_every_algorithm_searches(key, name):
    evolver = from_evosax(evosax_algorithm(name), REAL, population=POPULATION)
    _, best = scanned(evolver, first_generation(REAL, key), key, 30)
    assert bool(jnp.all(jnp.isfinite(best)))
    assert name in WANDERING or float(jnp.min(best)) < float(best[0])


def test_equal_searches_share_one_program_and_no_generation_compiles_again(key):
    step = jax.jit(lambda evolver, state, key: one_generation(evolver, state, key))
    genomes = first_generation(REAL, key)
    for _ in range(2):
        evolver = from_evosax(CMA_ES, REAL, population=POPULATION)
        state = evolver.init(key, genomes, jax.vmap(distance)(genomes))
        for _ in range(3):
            state, _ = step(evolver, state, key)
    assert step._cache_size() == 1


def test_a_distribution_starts_around_the_best_of_generation_zero(key):
    genomes = first_generation(REAL, key)
    fitness = jax.vmap(distance)(genomes)
    state = from_evosax(CMA_ES, REAL, population=POPULATION).init(key, genomes, fitness)
    np.testing.assert_array_equal(state.mean, genomes[np.argmin(fitness)])


def test_a_population_starts_from_the_best_of_generation_zero(key):
    genomes = first_generation(REAL, key, 2 * POPULATION)
    fitness = jax.vmap(distance)(genomes)
    evolver = from_evosax(evosax_algorithm("PSO"), REAL, population=POPULATION)
    state = evolver.init(key, genomes, fitness)
    best = np.argsort(np.asarray(fitness))[:POPULATION]
    np.testing.assert_array_equal(state.population, genomes[best])
    with pytest.raises(ValueError, match="generation 0 has 4 members"):
        evolver.init(key, genomes[:4], fitness[:4])


@pytest.mark.parametrize("failing", [slice(0, 3), slice(None)])
def test_failed_candidates_do_not_ruin_an_average(key, failing):
    evolver = from_evosax(evosax_algorithm("PersistentES"), REAL, population=POPULATION)
    genomes = first_generation(REAL, key)
    state = evolver.init(key, genomes, jax.vmap(distance)(genomes))
    genomes, state = evolver.ask(key, state)
    fitness = jax.vmap(distance)(genomes).at[failing].set(jnp.inf)
    state = evolver.tell(key, genomes, fitness, state)
    assert bool(jnp.all(jnp.isfinite(state.mean)))


def test_it_runs_in_the_engine(key):
    evolver = from_evosax(CMA_ES, REAL, population=POPULATION)
    search = build_search(REAL, Partial(real_objective), evolver, population=POPULATION)
    state, first = search.init(key)
    state, records = search.run(state, 20)
    assert float(records.best[-1]) < float(first.best)
    assert int(state.evaluations) == 21 * POPULATION


def test_packed_genomes_are_refused():
    with pytest.raises(ValueError, match="real-valued.*uint32.*offsets.*genetic"):
        from_evosax(CMA_ES, PACKED, population=8)


@pytest.mark.parametrize(
    ("name", "population", "message"),
    [
        ("Open_ES", 7, "Open_ES refuses population 7.*even"),
        ("SV_CMA_ES", 7, "SV_CMA_ES refuses population 7.*divide by 2"),
    ],
)
def test_settings_that_evosax_refuses_are_explained(name, population, message):
    with pytest.raises(ValueError, match=message):
        from_evosax(evosax_algorithm(name), REAL, population=population)


def _with_horizon(population_size, solution, horizon):
    return CMA_ES(population_size, solution)


def test_an_algorithm_with_arguments_of_its_own_needs_a_partial():
    with pytest.raises(ValueError, match="_with_horizon cannot be built.*horizon.*partial"):
        from_evosax(_with_horizon, REAL, population=8)


def test_random_search_draws_from_the_space(key):
    evolver = from_evosax(RandomSearch, REAL, population=4)
    genomes = first_generation(REAL, key, 4)
    proposed, _ = evolver.ask(key, evolver.init(key, genomes, jnp.zeros(4)))
    np.testing.assert_array_equal(proposed, genomes)


def test_the_rest_of_the_settings_comes_with_a_partial(key):
    build = partial(RandomSearch, sampling_fn=_twice_as_large)
    evolver = from_evosax(build, REAL, population=4)
    genomes = first_generation(REAL, key, 4)
    proposed, _ = evolver.ask(key, evolver.init(key, genomes, jnp.zeros(4)))
    np.testing.assert_array_equal(proposed, 2 * genomes)


def _twice_as_large(key):
    return 2 * sample_real(key)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("CMAES", "CMA_ES"), ("simplega", "SimpleGA"), ("OpenES", "Open_ES"), ("???", "Choose from")],
)
def test_an_unknown_name_gets_the_nearest_ones(name, hint):
    with pytest.raises(ValueError, match=hint):
        evosax_algorithm(name)


def evosax_loop(algorithm, genomes, key, generations):
    """What a program written against evosax does."""
    params = algorithm.default_params
    state = algorithm.init(key, genomes, jax.vmap(misses)(genomes), params)

    def step(state, key):
        ask_key, tell_key = jax.random.split(key)
        population, state = algorithm.ask(ask_key, state, params)
        fitness = jax.vmap(misses)(population)
        state, metrics = algorithm.tell(tell_key, population, fitness, state, params)
        return state, (population, metrics)

    return jax.lax.scan(step, state, jax.random.split(key, generations))


def test_our_evolver_is_an_evosax_algorithm_on_packed_words(key):
    algorithm = to_evosax(PACKED, genetic, population=POPULATION)
    assert isinstance(algorithm, PopulationBasedAlgorithm)
    state, (populations, metrics) = evosax_loop(algorithm, first_generation(PACKED, key), key, 25)
    assert populations.shape == (25, POPULATION, 2)
    assert populations.dtype == state.population.dtype == state.best_solution.dtype == jnp.uint32
    assert metrics["best_fitness"].shape == (25,)
    best = algorithm.get_best_solution(state)
    assert int(count_kept(PACKED.decode(best))) == KEPT
    assert float(misses(best)) == float(state.best_fitness) == float(metrics["best_fitness"][-1])
    assert float(state.best_fitness) < 6


@pytest.mark.slow
def test_behind_evosax_it_proposes_what_it_proposes_directly(key):
    genomes = first_generation(PACKED, key)
    algorithm = to_evosax(PACKED, genetic, population=POPULATION)
    _, (populations, _) = evosax_loop(algorithm, genomes, key, 3)
    evolver = genetic(PACKED, population=POPULATION)
    state = evolver.init(key, genomes, jax.vmap(misses)(genomes))
    for step_key, population in zip(jax.random.split(key, 3), populations, strict=True):
        ask_key, tell_key = jax.random.split(step_key)
        proposed, state = evolver.ask(ask_key, state)
        np.testing.assert_array_equal(proposed, population)
        state = evolver.tell(tell_key, proposed, jax.vmap(misses)(proposed), state)


def test_a_failed_candidate_never_becomes_the_best(key):
    algorithm = to_evosax(PACKED, genetic, population=4)
    params = algorithm.default_params
    genomes = first_generation(PACKED, key, 4)
    state = algorithm.init(key, genomes, jnp.array([jnp.nan, 3.0, 2.0, jnp.nan]), params)
    assert float(state.best_fitness) == 2.0
    population, state = algorithm.ask(key, state, params)
    state, metrics = algorithm.tell(key, population, jnp.full(4, jnp.nan), state, params)
    assert float(state.best_fitness) == 2.0
    assert float(metrics["best_fitness_in_generation"]) == float("inf")
    np.testing.assert_array_equal(algorithm.get_best_solution(state), genomes[2])


def test_algorithms_built_alike_are_equal_and_share_a_program(key):
    first, second = (to_evosax(PACKED, genetic, population=POPULATION) for _ in range(2))
    assert first == second and hash(first) == hash(second)
    assert first != to_evosax(PACKED, genetic, population=4)
    genomes = first_generation(PACKED, key)
    before = type(first).ask._cache_size()
    for algorithm in (first, second):
        params = algorithm.default_params
        state = algorithm.init(key, genomes, jax.vmap(misses)(genomes), params)
        algorithm.ask(key, state, params)
    assert type(first).ask._cache_size() == before + 1


def test_an_evolver_with_a_changing_population_is_refused():
    def staged(space, *, population):
        return paper(space, schedule="cifar10")

    with pytest.raises(ValueError, match="candidates in every generation"):
        to_evosax(PACKED, staged, population=30)
