"""`bench`: how fast this machine evaluates a population, and how fast others do it here."""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.bench.jax_rivals import plain_vmap, pure_inference
from jgaprune.bench.ours import Task, compile_task, make_task
from jgaprune.bench.timing import Runner, Timing, in_turns
from jgaprune.bench.work import count_flops, peak_product
from jgaprune.engine import Strategy, candidate_strategies, tune
from jgaprune.model import Model
from jgaprune.report.environment import device, versions
from jgaprune.types import Array, Key

SPARSITY = 0.5
"""Half of the weights, as in the paper; speed does not depend on it."""


def bench(
    model: Model,
    *,
    num_inputs: int = 256,
    population: int = 8,
    strategy: Strategy | None = None,
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
      rounds: measurements of each; the result holds medians.
      rivals: whether to time the others, too. Those in PyTorch run where it is installed and
        the architecture is one of the converters'.
      seed: of inputs and masks.

    Returns:
      JSON values. `ours`: `forwards_per_second` of whole generations, `sgemm_fraction` of the
      speed of a large float32 matrix product, `product_fraction` of one in the strategy's dtype,
      `strategy`. `competitors`: `forwards_per_second`
      by name, and `largest_difference` of a candidate's fitness from ours.
      `pure_inference_fraction`: against the dense network on as many inputs without masks.
      `update_fraction`: share of proposing and selecting in a generation. Also
      `peak_memory_bytes`, `compile_seconds`, `seconds` with quartiles, `device`, `versions`.
    """
    input_key, task_key = jax.random.split(jax.random.key(seed))
    inputs = jax.random.normal(input_key, (num_inputs, *model.spec.input_shape))
    task = make_task(model, inputs, population, SPARSITY, task_key)
    strategy = strategy or _fastest(task, population, task_key)
    compiled = compile_task(task, strategy, task_key)
    products = {dtype: peak_product(dtype) for dtype in dict.fromkeys(("float32", strategy.dtype))}
    others = _rivals(model, inputs, task) if rivals else {}
    dense = np.asarray(jnp.argmax(model.apply(model.params, model.buffers, inputs), axis=-1))
    differences = {
        name: _difference(dense, np.asarray(runner()), np.asarray(compiled.fitness))
        for name, runner in others.items()
        if name != "paper_loop"  # has masks of its own
    }
    timings = in_turns(
        {
            "generation": compiled.generation,
            "evaluation": compiled.evaluation,
            "update": compiled.update,
            "pure_inference": pure_inference(model, inputs, population),
            **{f"product_{dtype}": multiply for dtype, (multiply, _) in products.items()},
            **others,
        },
        rounds=rounds,
    )
    flops = population * count_flops(model.apply, model.params, model.buffers, inputs)
    seconds = {name: timing.median for name, timing in timings.items()}
    peaks = {dtype: count / seconds[f"product_{dtype}"] for dtype, (_, count) in products.items()}
    return {
        "ours": {
            "forwards_per_second": population / seconds["generation"],
            "sgemm_fraction": flops / seconds["generation"] / peaks["float32"],
            "product_fraction": flops / seconds["generation"] / peaks[strategy.dtype],
            "strategy": str(strategy),
        },
        "competitors": {
            name: {
                "forwards_per_second": population / seconds[name],
                "largest_difference": differences.get(name),
            }
            for name in others
        },
        "pure_inference_fraction": seconds["pure_inference"] / seconds["generation"],
        "update_fraction": seconds["update"] / seconds["generation"],
        "peak_memory_bytes": compiled.peak_memory_bytes,
        "compile_seconds": compiled.compile_seconds,
        "model": model.spec.name,
        "num_weights": model.layout.num_weights,
        "num_inputs": num_inputs,
        "population": population,
        "flops_per_forward": flops // population,
        "peak_flops_per_second": peaks,
        "rounds": rounds,
        "seconds": {name: _quartiles(timing) for name, timing in timings.items()},
        "device": device(),
        "versions": versions(),
    }


def _fastest(task: Task, population: int, key: Key) -> Strategy:
    candidates = candidate_strategies(task.space, task.objective, population)
    return tune(task.space, task.objective, key, population, candidates).strategy


def _rivals(model: Model, inputs: Array, task: Task) -> dict[str, Runner]:
    masks = jax.jit(jax.vmap(task.space.decode))(task.genomes)
    found = {"jax_vmap": plain_vmap(model, inputs, masks)}
    if importlib.util.find_spec("torch"):
        from jgaprune.bench.torch_rivals import torch_rivals  # torch takes seconds to import

        found |= torch_rivals(model, inputs, masks)
    return found


def _difference(dense: np.ndarray, predicted: np.ndarray, fitness: np.ndarray) -> float:
    return float(np.max(np.abs(np.mean(predicted != dense, axis=-1) - fitness)))


def _quartiles(timing: Timing) -> dict[str, float]:
    return {"median": timing.median, "low": timing.low, "high": timing.high}
