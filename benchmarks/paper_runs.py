"""What the benchmarks of the paper's experiments share: a run, and what the paper logs of one."""

import statistics
import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.engine import SearchState, build_search, usual_strategy
from jgaprune.evolvers import Schedule, complement, paper
from jgaprune.model import Model
from jgaprune.types import Array, MaskSpace, Objective


def run_strategy(
    space: MaskSpace,
    objective: Objective,
    strategy: int,
    schedule: Schedule,
    generations: int,
    *,
    seed: int,
    dtype: str = "float32",
) -> dict[str, Any]:
    """All generations of one of the paper's strategies, the random one first."""
    size = schedule.stages[0][1]
    evolver = paper(space, strategy=strategy, schedule=schedule)
    mapping = replace(usual_strategy(space, objective, size), dtype=dtype)
    search = build_search(space, objective, evolver, population=size, strategy=mapping)
    rows: list[dict[str, Any]] = []
    state = None
    for _ in range(generations + 1):
        start = time.perf_counter()
        state, _ = search.init(jax.random.key(seed)) if state is None else search.step(state)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - start
        rows.append(describe(state, seconds, rows))
        print(f"strategy {strategy}: {rows[-1]}", flush=True)
    return {"strategy": strategy, "evaluated": str(mapping), "generations": rows, **speed(rows)}


def describe(state: SearchState, seconds: float, before: list[dict[str, Any]]) -> dict[str, Any]:
    """What the paper logs of a generation: the whole population, kept members included."""
    quality = np.asarray(complement(state.evolver.fitness), np.float64)
    total = int(state.evaluations)
    return {
        "population": len(quality),
        "evaluations": total - sum(row["evaluations"] for row in before),
        "mean": round(float(quality.mean()), 4),
        "deviation": round(float(quality.std()), 4),
        "best": round(float(quality.max()), 4),
        "best_ever": round(1.0 - float(state.best.fitness), 4),
        "seconds": seconds,
    }


def speed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Masks per second over the generations whose shapes were compiled before."""
    seen: set[tuple[int, int]] = set()
    rates = []
    for previous, row in zip(rows, rows[1:], strict=False):
        shapes = (previous["population"], row["evaluations"])
        if shapes in seen:
            rates.append(row["evaluations"] / row["seconds"])
        seen.add(shapes)
    if not rates:
        return {"masks_per_second": None}
    return {
        "masks_per_second": round(statistics.median(rates), 2),
        "masks_per_second_range": [round(min(rates), 2), round(max(rates), 2)],
    }


def dense_accuracy(model: Model, inputs: Array, labels: Array) -> float:
    """Accuracy of the network before pruning."""
    logits = jax.jit(model.apply)(model.params, model.buffers, inputs)
    return float(jnp.mean(jnp.argmax(logits, axis=-1) == labels))
