"""evosax's algorithms as evolvers: any of them searches a space of real-valued genomes.

evosax (Lange, "evosax: JAX-based Evolution Strategies", arXiv:2212.04180) minimises, as we do.
Its algorithm objects compare by identity; here they stand behind a value, so that two equal
searches share one compiled program.
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms import SV_CMA_ES, SV_Open_ES, algorithms
from evosax.algorithms.base import EvolutionaryAlgorithm
from evosax.algorithms.population_based.base import PopulationBasedAlgorithm
from jax.tree_util import Partial

from jgaprune.types import Array, Evolver, Fitness, Genomes, Key, MaskSpace

Build = Callable[..., EvolutionaryAlgorithm]
"""`population_size=..., solution=... -> algorithm`: an evosax class, or a `functools.partial`."""

_NUM_DISTRIBUTIONS = 2
_BY_NAME: dict[str, Build] = {
    **algorithms,
    "SV_CMA_ES": partial(SV_CMA_ES, num_populations=_NUM_DISTRIBUTIONS),
    "SV_Open_ES": partial(SV_Open_ES, num_populations=_NUM_DISTRIBUTIONS),
}
# Fitness of a generation in which every candidate failed: finite, and worse than any real one.
_ALL_FAILED = 1e6


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Algorithm:
    """An algorithm that equals another one built in the same way. Static."""

    build: Build
    population: int
    genome: tuple[Any, ...]
    instance: Any = field(compare=False)


def from_evosax(build: Build, space: MaskSpace, *, population: int) -> Evolver:
    """An evosax algorithm as an evolver.

    Population-based algorithms start from generation 0, distribution-based ones around the best
    genome of it. Candidates that failed count as the worst one that did not.

    Args:
      build: called as `build(population_size=..., solution=...)`: an evosax class,
        `functools.partial(cls, ...)` for other than its default settings, or what
        `evosax_algorithm(name)` returns. Keep and reuse a partial: it compares by identity.
      space: its genomes must be real-valued.
      population: candidates per generation.

    Raises:
      ValueError: the genomes are not real-valued, or the algorithm refuses the settings.
    """
    genome = jax.eval_shape(space.sample, jax.random.key(0))
    _check_real(genome)
    build = _with_sampling(build, space)
    instance = _construct(build, population, genome)
    instance.metrics_fn = _no_metrics  # the default ones hold whole solutions
    leaves, tree = jax.tree.flatten(genome)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    algorithm = _Algorithm(build, population, (tree, *shapes), instance)
    params = jax.tree.map(jnp.asarray, instance.default_params)
    return Evolver(
        init=Partial(_init, algorithm, params),
        ask=Partial(_ask, algorithm, params),
        tell=Partial(_tell, algorithm, params),
    )


def evosax_algorithm(name: str) -> Build:
    """The evosax algorithm of this name, for `from_evosax`.

    Raises:
      ValueError: there is none; the nearest names are listed.

    >>> evosax_algorithm("CMA_ES").__name__
    'CMA_ES'
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    by_folded = {known.lower().replace("_", ""): known for known in _BY_NAME}
    folded = name.lower().replace("_", "").replace("-", "")
    near = [by_folded[match] for match in difflib.get_close_matches(folded, by_folded, 3, 0.5)]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Choose from {', '.join(_BY_NAME)}."
    raise ValueError(f"evosax has no algorithm {name!r}. {hint}")


def _check_real(genome: Any) -> None:
    found = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(genome)})
    if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(genome)):
        raise ValueError(
            f"evosax searches real-valued genomes, but this space has {', '.join(found)} ones, "
            "which it would turn into floats silently. Use the spaces `offsets` or `scores` "
            "with it, or the evolver `genetic` with this space."
        )


def _with_sampling(build: Build, space: MaskSpace) -> Build:
    """Random search asks how a solution is drawn: as the space draws genomes."""
    asked = inspect.signature(build).parameters.get("sampling_fn")
    if asked is None or asked.default is not inspect.Parameter.empty:
        return build
    return partial(build, sampling_fn=space.sample)


def _construct(build: Build, population: int, genome: Any) -> EvolutionaryAlgorithm:
    name = getattr(getattr(build, "func", build), "__name__", str(build))
    solution = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), genome)
    try:
        inspect.signature(build).bind(population_size=population, solution=solution)
    except TypeError as error:
        raise ValueError(
            f"evosax's {name} cannot be built from population_size and solution alone: {error}. "
            f"Pass functools.partial({name}, ...) with the rest."
        ) from error
    try:
        instance = build(population_size=population, solution=solution)
        num_distributions = getattr(instance, "num_populations", 1)
        if num_distributions == 1:
            return instance
        if population % num_distributions:
            raise AssertionError(f"Population size must divide by {num_distributions}.")
        return build(population_size=population // num_distributions, solution=solution)
    except AssertionError as error:
        raise ValueError(
            f"evosax's {name} refuses population {population}: {error} Choose another one."
        ) from error


def _no_metrics(*_: Any) -> dict[str, Array]:
    return {}


def _init(algorithm: _Algorithm, params: Any, key: Key, genomes: Genomes, fitness: Fitness) -> Any:
    instance = algorithm.instance
    order = jnp.argsort(fitness)
    if isinstance(instance, PopulationBasedAlgorithm):
        if fitness.shape[0] < instance.population_size:
            raise ValueError(
                f"generation 0 has {fitness.shape[0]} members, evosax needs at least "
                f"{instance.population_size}: the population it was built for."
            )
        best = order[: instance.population_size]
        chosen = jax.tree.map(lambda leaf: leaf[best], genomes)
        return _typed(instance.init(key, chosen, _finite(fitness[best]), params))
    num_distributions = getattr(instance, "num_populations", None)
    best = order[0] if num_distributions is None else order[:num_distributions]
    return _typed(instance.init(key, jax.tree.map(lambda leaf: leaf[best], genomes), params))


def _ask(algorithm: _Algorithm, params: Any, key: Key, state: Any) -> tuple[Genomes, Any]:
    genomes, state = algorithm.instance.ask(key, state, params)
    return genomes, _typed(state)


def _tell(
    algorithm: _Algorithm, params: Any, key: Key, genomes: Genomes, fitness: Fitness, state: Any
) -> Any:
    state, _ = algorithm.instance.tell(key, genomes, _finite(fitness), state, params)
    return _typed(state)


def _finite(fitness: Fitness) -> Fitness:
    """Several algorithms average fitness: one infinity would turn their mean into NaN."""
    failed = ~jnp.isfinite(fitness)
    worst = jnp.max(jnp.where(failed, -jnp.inf, fitness))
    return jnp.where(failed, jnp.where(jnp.all(failed), _ALL_FAILED, worst), fitness)


def _typed(state: Any) -> Any:
    """Gives Python scalars a dtype for good, lest the second generation compile again."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)
