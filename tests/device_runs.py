"""Searches on 8 fake devices, in a process of its own: devices are counted when JAX starts.

    python device_runs.py OUT.npz

Writes what every run found, and what its compiled programs send, under the name of the run;
`test_devices.py` compares them.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jgaprune as jp
from jgaprune import evolvers, objectives, repair, saliency, spaces
from jgaprune.engine import programs
from jgaprune.model import Model
from jgaprune.types import Array, Evolver, MaskSpace

SPARSITY, GENERATIONS = 0.5, 4
POPULATION, NUM_INPUTS, SURVIVORS = 6, 16, 3
MESHES = {"none": None, **{str(n): f"pop={n}" for n in (1, 2, 4, 8)}}
ISLANDS = {"islands": 8, "migrate_every": 2, "migrants": 1}
KEY = jax.random.key(5)
_SENT = re.compile(
    r"= (\S+?)\[([\d,]*)\]\S* (all-\w+|collective-permute|reduce-scatter)(?:-start)?\("
)


class Net(nnx.Module):
    """Two dense layers with batch-norm in between: 6 inputs, 3 logits."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(6, 10, rngs=rngs)
        self.norm = nnx.BatchNorm(10, rngs=rngs)
        self.last = nnx.Linear(10, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.last(nnx.relu(self.norm(self.first(x))))


MODEL = Model.from_nnx(Net(nnx.Rngs(0)), (6,))
INPUTS = jax.random.normal(jax.random.key(1), (NUM_INPUTS, 6))
SALIENCY = saliency.magnitude(MODEL.params, MODEL.layout, SPARSITY)
OFFSETS = spaces.offsets(SALIENCY, MODEL.layout, SPARSITY, detail="output_channel")
BITS = spaces.weights(SALIENCY, MODEL.layout, SPARSITY)


def objective(num_inputs: int = NUM_INPUTS):
    fitted = repair.batch_norm_delta(MODEL, INPUTS[:num_inputs])
    return objectives.output_distance(MODEL, repair=fitted)


OBJECTIVE = objective()


def genetic(space: MaskSpace) -> Evolver:
    return evolvers.genetic(space, population=POPULATION)


def level_switch(space: MaskSpace) -> Evolver:
    return evolvers.level_switch(space, population=POPULATION)


def cma_es(space: MaskSpace) -> Evolver:
    return evolvers.from_evosax(evolvers.evosax_algorithm("CMA_ES"), space, population=POPULATION)


def paper(space: MaskSpace) -> Evolver:
    schedule = evolvers.Schedule(((0.0, POPULATION, 0.2), (0.5, 9, 0.1)))
    return evolvers.paper(space, strategy=4, schedule=schedule, quality=evolvers.reciprocal)


RUNS: dict[str, tuple[MaskSpace, Callable[[MaskSpace], Evolver], dict[str, Any]]] = {
    "genetic": (BITS, genetic, {}),
    "racing": (BITS, genetic, {"screen": jp.Screen(objective(4), SURVIVORS, 0.25)}),
    "level_switch": (OFFSETS, level_switch, {}),
    "cma_es": (OFFSETS, cma_es, {}),
    "paper": (OFFSETS, paper, {}),
    "islands": (BITS, genetic, ISLANDS),
    "island_parents": (OFFSETS, level_switch, ISLANDS),
}


def search_of(name: str, mesh: str | None, **changes: Any) -> jp.Search:
    space, build, options = RUNS[name]
    placed = None if mesh is None else jp.make_mesh(mesh)
    settings = {"population": POPULATION, "mesh": placed, **options, **changes}
    return jp.build_search(space, OBJECTIVE, build(space), **settings)


def found_by(search: jp.Search, key: Array = KEY) -> list[np.ndarray]:
    """Every array of the state and of the records, without keys."""
    state, first = search.init(key)
    state, records = search.run(state, GENERATIONS)
    leaves = jax.tree.leaves((state, first, records))
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(leaf) for leaf, is_key in zip(leaves, keys, strict=True) if not is_key]


def sent_by(search: jp.Search, means: programs.Means) -> list[tuple[str, str, int]]:
    """Kind, type and number of elements of what a block of generations sends."""
    raise NotImplementedError


def main(out: Path) -> None:
    results: dict[str, np.ndarray] = {}
    for name in RUNS:
        for mesh, text in MESHES.items():
            for index, leaf in enumerate(found_by(search_of(name, text))):
                results[f"{name}/{mesh}/{index}"] = leaf
    np.savez(out, **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
