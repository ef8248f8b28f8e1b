"""Searches on 8 fake devices, in a process of its own: JAX counts devices when it starts.

    python device_runs.py OUT.npz NAME/MESH ...

Writes what these runs found, what their programs send, and how impossible ones are refused;
`test_devices.py` compares.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + f" --xla_force_host_platform_device_count={os.environ.get('DEVICES', 8)}"
)

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jgaprune as jp
from jgaprune import distributed, evolvers, objectives, repair, saliency, spaces
from jgaprune.bench.collectives import collectives
from jgaprune.engine import on_host_device
from jgaprune.model import Model
from jgaprune.types import Array, Evolver, MaskSpace, Score

if "JGAPRUNE_COORDINATOR" in os.environ:
    distributed.initialize()

SPARSITY, GENERATIONS, HIDDEN = 0.5, 4, 10
POPULATION, NUM_INPUTS, SURVIVORS = 6, 16, 3
MESHES = {"none": None, **{str(count): f"pop={count}" for count in (1, 2, 4, 8)}}
MESHES["split"] = "pop=2,inputs=4"
ISLANDS = {"islands": 8, "migrate_every": 2, "migrants": 1}
KEY = jax.random.key(5)


class Net(nnx.Module):
    """Two dense layers with batch-norm in between: 6 inputs, 3 logits."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(6, HIDDEN, rngs=rngs)
        self.norm = nnx.BatchNorm(HIDDEN, rngs=rngs)
        self.last = nnx.Linear(HIDDEN, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.last(nnx.relu(self.norm(self.first(x))))


MODEL = Model.from_nnx(Net(nnx.Rngs(0)), (6,))
INPUTS = jax.random.normal(jax.random.key(1), (NUM_INPUTS, 6))
SALIENCY = saliency.magnitude(MODEL.params, MODEL.layout, SPARSITY)
OFFSETS = spaces.offsets(SALIENCY, MODEL.layout, SPARSITY, detail="output_channel")
BITS = spaces.weights(SALIENCY, MODEL.layout, SPARSITY)
SEEDS = jax.vmap(BITS.sample)(jax.random.split(jax.random.key(9), 5))


def objective(num_inputs: int = NUM_INPUTS):
    fitted = repair.batch_norm_delta(MODEL, INPUTS[:num_inputs])
    return objectives.output_distance(MODEL, repair=fitted)


def sometimes_nan(key: Array, masks: dict[str, Array]) -> Score:
    share = jnp.mean(masks[MODEL.layout.names[0]][0] * 1.0)
    return Score(jnp.where(share > 0.5, jnp.nan, share), share, jnp.int32(0))


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
    "genetic": (BITS, genetic, {"seeds": SEEDS}),
    "racing": (BITS, genetic, {"screen": jp.Screen(objective(4), SURVIVORS, 0.25)}),
    "failing": (BITS, genetic, {"objective": sometimes_nan}),
    "level_switch": (OFFSETS, level_switch, {}),
    "cma_es": (OFFSETS, cma_es, {}),
    "paper": (OFFSETS, paper, {}),
    "islands": (BITS, genetic, {"seeds": SEEDS, **ISLANDS}),
    "island_parents": (OFFSETS, level_switch, ISLANDS),
}


def search_of(name: str, place: str, **changes: Any) -> jp.Search:
    space, build, options = RUNS[name]
    text = MESHES[place]
    placed = None if text is None else jp.make_mesh(text)
    settings = {"population": POPULATION, "objective": OBJECTIVE, "mesh": placed}
    return jp.build_search(space, evolver=build(space), **{**settings, **options, **changes})


def found_by(name: str, *meshes: str) -> list[np.ndarray]:
    """Every array of state and records, keys apart; several meshes share the generations."""
    state, first = search_of(name, meshes[0]).init(KEY)
    found = [first]
    for mesh in meshes:
        state, records = search_of(name, mesh).run(state, GENERATIONS // len(meshes))
        found.append(records)
    first, *found = (on_host_device(record) for record in found)
    records = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    leaves = jax.tree.leaves((state, first, records))
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    plain = [leaf for leaf, is_key in zip(leaves, keys, strict=True) if not is_key]
    return [np.asarray(leaf) for leaf in on_host_device(plain)]


def sent_by(name: str, mesh: str) -> list[tuple[str, int]]:
    """Kind and bytes of what the program of all generations after the first sends."""
    return collectives(search_of(name, mesh).lower(KEY)[1].compile().as_text())


def refusals() -> dict[str, str]:
    """How impossible calls are answered."""
    plain = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("batch",))
    explicit = jax.make_mesh((2,), ("pop",), (jax.sharding.AxisType.Explicit,))
    calls = {
        "axes": lambda: search_of("genetic", "none", mesh=plain),
        "explicit": lambda: search_of("genetic", "none", mesh=explicit),
        "no_mesh": lambda: search_of("genetic", "none", mesh="pop=2"),
        "islands": lambda: search_of("islands", "8", islands=4),
        "staged": lambda: search_of("paper", "none", islands=2),
        "no_members": lambda: search_of("cma_es", "none", islands=2),
        "migrants": lambda: search_of("island_parents", "none", migrants=2),
        "never": lambda: search_of("islands", "none", migrate_every=0),
        "odd_inputs": lambda: search_of("genetic", "split", objective=objective(10)),
        "own_inputs": lambda: search_of("failing", "split"),
        "devices": lambda: jp.make_mesh("pop=9"),
    }
    return {name: _refusal(call) for name, call in calls.items()}


def _refusal(call: Callable[[], Any]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return "accepted"


def main(out: Path, names: list[str]) -> None:
    results: dict[str, Any] = {}
    for name in names:
        run, *meshes = name.split("/")
        for index, leaf in enumerate(found_by(run, *meshes)):
            results[f"{name}:{index}"] = leaf
        if len(meshes) == 1 and meshes[0] in ("8", "split") and run != "paper":
            results[f"{name}:sent"] = json.dumps(sent_by(run, meshes[0]))
    if jax.process_count() == 1:
        results["refusals"] = json.dumps(refusals())
    np.savez(out, **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
