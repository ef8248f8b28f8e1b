"""Racing: how often does a look choose the right children, what does it save, does it pay?

On the embedded digits network without any data, or on the weights that are given, for every space:
- agreement: children of real generations, each evaluated in full and looked at on a share of the
  inputs. How often is the best of them among the survivors of the look, and how often where it
  beats the best so far; how often does the look put it first; how alike do the two rank them?
- speed: seconds per generation with and without racing, in turns.
- quality: the fitness that searches of the same keys reach with the same counted evaluations.

    python benchmarks/racing.py
    python benchmarks/racing.py WEIGHTS --arch cifar_resnet20 --eval-data TEST.npz \
        --sparsity 0.8 --evaluations 500 --spaces offsets --out RESULT.json

`--smoke` runs a tiny network on noise: it proves that the script works and nothing else.
"""

import itertools
import json
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from documents import RESULTS, document, write
from scipy.stats import spearmanr
from subjects import parser
from tasks import Task, choose_subject, make_task, ready_search, screens_of

import jgaprune as jp
from jgaprune import demo
from jgaprune.bench.timing import Runner, in_turns
from jgaprune.driver.plan import Plan
from jgaprune.driver.presets import PRESETS
from jgaprune.driver.racing import describe_racing
from jgaprune.driver.wiring import Ready
from jgaprune.engine import Strategy, evaluate
from jgaprune.types import Objective

LOOKS = (1 / 16, 1 / 8, 1 / 4)
SURVIVORS = (1 / 8, 1 / 4, 1 / 2)
DEFAULT = jp.Racing()


class Children(NamedTuple):
    """What a generation's children are worth.

    Attributes:
      best: fitness of the best so far, before them.
      fitness: `[P]` by share of the inputs; 1 is in full.
    """

    best: float
    fitness: dict[float, np.ndarray]


class _Watch(NamedTuple):
    """Who looks at children, by share of the inputs, and what they saw so far."""

    plan: Plan
    strategy: Strategy
    objectives: dict[float, Objective]
    seen: list[Children]


def main() -> None:
    """Measures every space and writes one JSON after each, so that a stopped run keeps some."""
    arguments = _arguments()
    on = choose_subject(arguments)
    cells: list[dict[str, Any]] = []
    about = {
        "model": on.model.spec.name,
        "sha256": on.model.spec.source and on.model.spec.source.sha256,
        "inputs": on.inputs.origin,
        "num_inputs": len(on.inputs.all),
        "key_of_inputs": arguments.key,
    }
    for space in arguments.spaces:
        cells.append(_cell(make_task(on, space, arguments), space, arguments))
        print(json.dumps(cells[-1], indent=1), flush=True)
        if not arguments.smoke:
            write(arguments.out, document(__doc__, **about, cells=cells))


def _cell(task: Task, space: str, arguments) -> dict[str, Any]:
    plain, raced = ready_search(task, False), ready_search(task, DEFAULT)
    objectives = {
        share: screens_of(task, jp.Racing(share))[0].objective for share in arguments.looks
    }
    watch = _Watch(task.plan, plain.strategy, {1.0: task.judge.repaired, **objectives}, [])
    runs = [
        {
            "key": key,
            "without": _run(task, plain, key, arguments.evaluations, watch),
            "with": _run(task, raced, key, arguments.evaluations),
        }
        for key in arguments.keys
    ]
    return {
        "space": space,
        "sparsity": task.sparsity,
        "population": task.plan.initial,
        "strategy": str(plain.strategy),
        "agreement": [
            _agreement(watch.seen, share, arguments.survivors) for share in arguments.looks
        ],
        "speed": _speed(task, arguments),
        "quality": _quality(task, runs),
    }


def _run(
    task: Task, ready: Ready, number: int, evaluations: int, watch: _Watch | None = None
) -> dict[str, Any]:
    """A search as long as the budget lasts; adds the children of every other generation."""
    state, _ = ready.search.init(jax.random.key(number))
    children, seconds, generation = ready.search.children(state), 0.0, 0
    while int(state.evaluations) + children <= evaluations:
        if watch and generation % 2 == 0:
            watch.seen.append(_children(watch, state))
        started = time.perf_counter()
        state, _ = jax.block_until_ready(ready.search.step(state))
        seconds += time.perf_counter() - started
        generation += 1
    masks = jax.jit(task.plan.space.decode)(state.best.genome)
    return {
        "fitness": float(state.best.fitness),
        "accuracy": task.judge.accuracy(masks),
        "evaluations": int(state.evaluations),
        "generations": generation,
        "seconds": seconds,
    }


def _children(watch: _Watch, state: jp.SearchState) -> Children:
    """Children of a state: drawn as the search draws them, with another key."""
    ask_key, score_key = jax.random.split(state.key)
    genomes, _ = _ask(watch.plan.evolver, ask_key, state.evolver)
    fitness = {}
    for share, objective in watch.objectives.items():
        arguments = watch.plan.space, objective, score_key, genomes
        fitness[share] = np.asarray(_evaluate(*arguments, strategy=watch.strategy)[0])
    return Children(float(state.best.fitness), fitness)


@jax.jit
def _ask(evolver, key, state):
    return evolver.ask(key, state)


_evaluate = jax.jit(evaluate, static_argnames="strategy")


def _agreement(seen: list[Children], share: float, survivors: list[float]) -> dict[str, Any]:
    """How well looks on one share of the inputs choose."""
    improving = [one for one in seen if one.fitness[1.0].min() < one.best]
    correlations = [spearmanr(one.fitness[share], one.fitness[1.0]).statistic for one in seen]
    return {
        "look_fraction": share,
        "spearman_quartiles": _quartiles(correlations),
        "top_is_winner": _kept(seen, share, 0.0),
        "winner_survives": {str(part): _kept(seen, share, part) for part in survivors},
        "improving_winner_survives": {str(p): _kept(improving, share, p) for p in survivors},
        "populations": len(seen),
        "populations_that_improve": len(improving),
    }


def _kept(seen: list[Children], share: float, part: float) -> float | None:
    """Share of the populations whose best is among the survivors of a look."""
    if not seen:
        return None
    kept = []
    for one in seen:
        survivors = max(1, round(part * len(one.fitness[share])))
        chosen = np.argsort(one.fitness[share], kind="stable")[:survivors]
        kept.append(one.fitness[1.0][chosen].min() <= one.fitness[1.0].min())
    return float(np.mean(kept))


def _speed(task: Task, arguments) -> dict[str, Any]:
    settings = {
        f"look {share:g}, survivors {part:g}": jp.Racing(share, part)
        for share, part in itertools.product(arguments.looks, arguments.survivors)
    }
    readies = {"none": ready_search(task, False)}
    readies |= {name: ready_search(task, racing) for name, racing in settings.items()}
    starts = {name: one.search.init(jax.random.key(0))[0] for name, one in readies.items()}
    counted = {name: one.search.children(starts[name]) for name, one in readies.items()}
    runners = {name: _generations(one, starts[name]) for name, one in readies.items()}
    timings = in_turns(runners, rounds=arguments.rounds)
    return {
        name: {
            "seconds_quartiles": [timing.low, timing.median, timing.high],
            "times_faster": timings["none"].median / timing.median,
            "counted_evaluations": counted[name],
        }
        for name, timing in timings.items()
    }


def _generations(ready: Ready, state: jp.SearchState) -> Runner:
    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(ready.search.step(state))

    return run


def _quality(task: Task, runs: list[dict[str, Any]]) -> dict[str, Any]:
    lower = [pair["with"]["fitness"] < pair["without"]["fitness"] for pair in runs]
    measured = ("fitness", "seconds")
    quartiles = {
        side: {
            f"{what}_quartiles": _quartiles([one[side][what] for one in runs]) for what in measured
        }
        for side in ("without", "with")
    }
    racing = describe_racing(screens_of(task, DEFAULT), len(task.subject.inputs.all))
    return {"racing": racing, **quartiles, "runs_lower_with": sum(lower), "runs": runs}


def _quartiles(values: list[float]) -> list[float]:
    return [float(value) for value in np.nanquantile(values, (0.25, 0.5, 0.75))]


def _arguments():
    arguments = parser(__doc__)
    arguments.add_argument("--looks", type=float, nargs="+", default=LOOKS)
    arguments.add_argument("--survivors", type=float, nargs="+", default=SURVIVORS)
    arguments.add_argument("--sparsity", type=float, default=demo.SPARSITY)
    arguments.add_argument("--spaces", nargs="+", default=("offsets", "weights"))
    arguments.add_argument("--evaluations", type=int, default=PRESETS["default"].evaluations)
    arguments.add_argument("--population", type=int, default=16)
    arguments.add_argument("--keys", type=int, nargs="+", default=(0, 1, 2), help="of searches")
    arguments.add_argument("--rounds", type=int, default=5, help="of the timings")
    chosen = arguments.parse_args()
    if chosen.smoke:
        chosen.looks, chosen.survivors = (0.25,), (0.25,)
        chosen.sparsity, chosen.spaces, chosen.keys = 0.5, ("offsets",), (0,)
        chosen.evaluations, chosen.rounds = 48, 1
    chosen.out = chosen.out or RESULTS / "racing.json"
    return chosen


if __name__ == "__main__":
    main()
