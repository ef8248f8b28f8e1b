"""`bench`: how fast this machine evaluates a population, and how fast others do it here."""

import importlib.util
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.bench.jax_rivals import plain_vmap, pure_inference
from jgaprune.bench.ours import Task, compile_task, make_task
from jgaprune.bench.timing import Runner, Timing, in_turns
from jgaprune.bench.work import count_flops, peak_product
from jgaprune.engine import Strategy, candidate_strategies, tune
from jgaprune.inputs import gaussian_noise
from jgaprune.model import Model
from jgaprune.report.environment import device, versions
from jgaprune.types import Array, Fitness, Key

SPARSITY = 0.5
"""Half of the weights, as in the paper. Dense forward passes take as long at any sparsity."""


def bench(
    model: Model,
    *,
    num_inputs: int = 256,
    population: int = 8,
    strategy: Strategy | None = None,
    dtype: str = "float32",
    chunk: int | None = None,
    rounds: int = 5,
    rivals: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures one generation of a search over packed masks beside what others would run.

    Everything is compiled before, and timed in turns in this process. A "forward" is one candidate
    on all inputs.

    Args:
      model: any; its weights don't matter.
      num_inputs: `N`.
      population: `P`.
      strategy: how the population is evaluated; by default the fastest, measured beforehand.
      dtype: of the strategies that are measured; not with `strategy`. Rivals stay in float32.
      chunk: of the strategies that are measured, where they have one.
      rounds: measurements of each; the result holds medians.
      rivals: whether to time the others, too. Those in PyTorch run where it is installed and
        the architecture is one of the converters'.
      seed: of inputs and masks.

    Returns:
      JSON values. `ours`: `forwards_per_second` of whole generations, `sgemm_fraction` of the
      speed of a large float32 matrix product at its fastest, `product_fraction` of one in the
      strategy's dtype, `strategy`. `competitors`: `forwards_per_second` by name, and
      `largest_difference` of a candidate's fitness from ours; `failed_competitors`: why.
      `pure_inference_fraction`: against the dense network on as many inputs without masks, in
      one batch or in several, whichever is faster.
      `update_fraction`: share of proposing and selecting in a generation. Also
      `peak_memory_bytes`, `compile_seconds`, `seconds` with quartiles, `device`, `versions`.

    Raises:
      ValueError: fewer than one input, two candidates or one round.
    """
    _check(num_inputs, population, rounds)
    input_key, task_key = jax.random.split(jax.random.key(seed))
    inputs = gaussian_noise(model.spec, input_key, num_inputs)
    task = make_task(model, inputs, population, SPARSITY, task_key)
    strategy = strategy or fastest_strategy(task, task_key, dtype=dtype, chunk=chunk)
    compiled = compile_task(task, strategy, task_key)
    products = {name: peak_product(name) for name in dict.fromkeys(("float32", strategy.dtype))}
    others, failures = _working(_rivals(model, inputs, task) if rivals else {})
    timings = in_turns(
        {
            "generation": compiled.generation,
            "evaluation": compiled.evaluation,
            "update": compiled.update,
            **pure_inference(model, inputs, population, strategy.dtype),
            **{f"product_{name}": multiply for name, (multiply, _) in products.items()},
            **others,
        },
        rounds=rounds,
    )
    flops = count_flops(model.apply, model.params, model.buffers, inputs)
    counted = {f"product_{name}": count for name, (_, count) in products.items()}
    dense = np.asarray(jnp.argmax(model.apply(model.params, model.buffers, inputs), axis=-1))
    return {
        "ours": _speeds(timings, strategy, population, flops, counted),
        "competitors": {
            name: {
                "forwards_per_second": population / timings[name].median,
                "largest_difference": _difference(name, dense, runner, compiled.fitness),
            }
            for name, runner in others.items()
        },
        "failed_competitors": failures,
        **_fractions(timings),
        "peak_memory_bytes": compiled.peak_memory_bytes,
        "compile_seconds": compiled.compile_seconds,
        "model": model.spec.name,
        "num_weights": model.layout.num_weights,
        "num_inputs": num_inputs,
        "population": population,
        "flops_per_forward": flops,
        "peak_flops_per_second": _peaks(timings, counted),
        "rounds": rounds,
        "seconds": {name: _quartiles(timing) for name, timing in timings.items()},
        "device": device(),
        "versions": {**versions(), **_torch_version(others)},
    }


def _speeds(
    timings: dict[str, Timing],
    strategy: Strategy,
    population: int,
    flops: int,
    counted: dict[str, int],
) -> dict[str, Any]:
    """How fast whole generations are, and what of the speed of matrix products that is."""
    per_second = population / timings["generation"].median
    peaks = _peaks(timings, counted)
    return {
        "forwards_per_second": per_second,
        "sgemm_fraction": per_second * flops / peaks["float32"],
        "product_fraction": per_second * flops / peaks[strategy.dtype],
        "strategy": str(strategy),
    }


def _peaks(timings: dict[str, Timing], counted: dict[str, int]) -> dict[str, float]:
    """Operations per second of the products at their fastest, by dtype."""
    return {
        name.removeprefix("product_"): count / min(timings[name].samples)
        for name, count in counted.items()
    }


def _fractions(timings: dict[str, Timing]) -> dict[str, float]:
    generation = timings["generation"].median
    inference = [one.median for name, one in timings.items() if name.startswith("pure_inference")]
    return {
        "pure_inference_fraction": min(inference) / generation,
        "update_fraction": timings["update"].median / generation,
    }


def _check(num_inputs: int, population: int, rounds: int) -> None:
    least = {"num_inputs": (num_inputs, 1), "population": (population, 2), "rounds": (rounds, 1)}
    faults = [
        f"{name} must be at least {low}, got {value}"
        for name, (value, low) in least.items()
        if value < low
    ]
    if faults:
        raise ValueError("; ".join(faults) + ".")


def fastest_strategy(
    task: Task, key: Key, *, dtype: str = "float32", chunk: int | None = None
) -> Strategy:
    """The fastest of all forms for a task.

    Args:
      task: what is evaluated.
      key: for random genomes.
      dtype: of every strategy.
      chunk: of those that have one; by default those that `candidate_strategies` tries.
    """
    population = task.genomes.shape[0]
    usual = candidate_strategies(task.space, task.objective, population)
    candidates = [
        replace(one, dtype=dtype, chunk=one.chunk if one.chunk == 1 or not chunk else chunk)
        for one in usual
    ]
    unique = list(dict.fromkeys(candidates))
    return tune(task.space, task.objective, key, population, unique).strategy


def _working(rivals: dict[str, Runner]) -> tuple[dict[str, Runner], dict[str, str]]:
    """Those that run here, and why the others do not: they may need more memory than there is."""
    working, failures = {}, {}
    for name, runner in rivals.items():
        try:
            runner()
        except Exception as failure:  # of JAX or PyTorch, each with its own kinds
            failures[name] = str(failure).partition("\n")[0]
        else:
            working[name] = runner
    return working, failures


def _torch_version(rivals: dict[str, Runner]) -> dict[str, str]:
    return {"torch": version("torch")} if any(name != "jax_vmap" for name in rivals) else {}


def _rivals(model: Model, inputs: Array, task: Task) -> dict[str, Runner]:
    masks = jax.jit(jax.vmap(task.space.decode))(task.genomes)
    found = {"jax_vmap": plain_vmap(model, inputs, masks)}
    if importlib.util.find_spec("torch"):
        from jgaprune.bench.torch_rivals import torch_rivals  # torch takes seconds to import

        found |= torch_rivals(model, inputs, masks)
    return found


def _difference(name: str, dense: np.ndarray, runner: Runner, fitness: Fitness) -> float | None:
    """Between a rival's shares of decisions unlike the dense network's and our fitness."""
    if name == "paper_loop":  # makes masks of its own
        return None
    changed = np.mean(np.asarray(runner()) != dense, axis=-1)
    return float(np.max(np.abs(changed - np.asarray(fitness))))


def _quartiles(timing: Timing) -> dict[str, float]:
    return {"median": timing.median, "low": timing.low, "high": timing.high}
