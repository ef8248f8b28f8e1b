"""The guarantee: a search with a seed in its first population ends no worse than that seed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import count

import jgaprune as jp
from jgaprune import evolvers, objectives, repair, saliency, spaces
from jgaprune.masks import kept_for
from jgaprune.model import Model

ROUNDING = 1e-4
"""The objective of a seed by itself and in a population are two programs."""
SCORES = (saliency.magnitude, saliency.uniform_magnitude, saliency.lamp, saliency.erk)
EVOLVERS = {
    "genetic": evolvers.genetic,
    "genetic_adaptive": partial(evolvers.genetic, adaptive=True, patience=1),
    "level_switch": evolvers.level_switch,
    "random_search": evolvers.random_search,
}
SPACES = {
    "levels": spaces.levels,
    "offsets": spaces.offsets,
    "weights": spaces.weights,
    "weights_near": partial(spaces.weights, near=0.1),
}


def _layers(params, x):
    for name in sorted(params):
        x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"])
    return x


def random_problem(seed: int):
    """A network of random depth, widths and weights, inputs, a sparsity, and a space by name."""
    draw = np.random.default_rng(seed)
    widths = draw.integers(4, 24, draw.integers(3, 6))
    params = {
        f"layer{number}": {
            "kernel": jnp.asarray(draw.normal(size=size) * draw.uniform(0.1, 2), jnp.float32),
            "bias": jnp.asarray(draw.normal(size=size[1]), jnp.float32),
        }
        for number, size in enumerate(zip(widths[:-1], widths[1:], strict=True))
    }
    model = Model.from_fn(_layers, params, (int(widths[0]),))
    inputs = jnp.asarray(draw.normal(size=(16, widths[0])), jnp.float32)
    return model, inputs, float(draw.uniform(0.2, 0.8)), draw.permutation(sorted(SPACES))[0]


@pytest.mark.parametrize("evolver", EVOLVERS.values(), ids=EVOLVERS.keys())
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))])
def test_the_final_fitness_is_never_worse_than_the_best_seeds(evolver, seed):
    model, inputs, sparsity, name = random_problem(seed)
    layout, num_kept = model.layout, kept_for(sparsity, model.layout.num_weights)
    base = saliency.protect(SCORES[0](model.params, layout, sparsity), layout, num_kept)
    space = SPACES[name](base, layout, sparsity)
    refits = repair.reconstruct(model, inputs) if seed % 2 else None
    objective = objectives.logit_mse(model, inputs=None if refits else inputs, repair=refits)
    masks = [
        saliency.one_shot(one(model.params, layout, sparsity), layout, sparsity) for one in SCORES
    ]
    genomes = jnp.stack([space.encode(one) for one in masks])
    key = jax.random.key(seed)
    best_seed = min(
        float(jax.jit(objective)(key, space.decode(genome)).fitness) for genome in genomes
    )
    search = jp.build_search(
        space, objective, evolver(space, population=4), population=4, seeds=genomes
    )
    state, first = search.init(key)
    state, records = search.run(state, 3)
    best = [float(first.best), *records.best.tolist()]
    assert best == sorted(best, reverse=True)
    assert best[-1] <= best_seed * (1 + ROUNDING) + ROUNDING
    assert count(space.decode(state.best.genome)) == num_kept


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_call_ends_no_worse_than_any_one_shot_mask_with_the_same_repair(seed):
    model, inputs, sparsity, _ = random_problem(100 + seed)
    report = jp.prune(model, sparsity=sparsity, inputs=inputs, evaluations=16, train_steps=4)
    seeds = [one.repaired.fitness for one in report.baselines.values()]
    assert report.fitness["best"] <= min(seeds) * (1 + ROUNDING) + ROUNDING
