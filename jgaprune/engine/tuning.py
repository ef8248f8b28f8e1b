"""Which strategy is fastest here: measured once per program and machine, and remembered.

Strategies differ by rounding, so a result is the same on the same machine under the same
strategy. For that, and because timings are noisy, the usual strategy of a backend is only given
up for one that is clearly faster.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib

from jgaprune.engine.chunks import auto_chunk
from jgaprune.engine.evaluate import evaluate
from jgaprune.engine.strategy import SEQUENTIAL, Strategy
from jgaprune.ops import make_rows
from jgaprune.types import Genomes, Key, MaskSpace, Objective
from jgaprune.version import __version__

_CLEARLY_FASTER = 0.9
_REPETITIONS = 3


class Tuning(NamedTuple):
    """What was found.

    Attributes:
      strategy: the one to use.
      seconds: per candidate of the population, by `str(strategy)`; None for one that failed.
    """

    strategy: Strategy
    seconds: dict[str, float | None]


def usual_strategy(space: MaskSpace, objective: Objective, population: int) -> Strategy:
    """What a backend runs well without having been measured.

    On CPU one candidate after another, since XLA runs the grouped convolutions that `vmap` makes
    slowly there; on accelerators chunks that fill half of the memory.
    """
    chunk = auto_chunk(space, objective, population)
    return SEQUENTIAL if chunk == 1 else Strategy("vmap", chunk)


def candidate_strategies(space: MaskSpace, objective: Objective, population: int) -> list[Strategy]:
    """The usual strategy of the backend first, then what else may be faster."""
    usual = usual_strategy(space, objective, population)
    if jax.default_backend() == "cpu":
        few = min(population, 4)
        others = [Strategy("unrolled", 2), Strategy("matmul", few), Strategy("vmap", few)]
    else:
        sizes = sorted({usual.chunk, max(1, usual.chunk // 4)}, reverse=True)
        forms = ("vmap", "matmul", "kernel")
        others = [Strategy(form, size) for size in sizes for form in forms]
    fitting = [one for one in others if one.chunk <= population and one != usual]
    return [usual, *fitting, *([] if usual == SEQUENTIAL else [SEQUENTIAL])]


def tune(
    space: MaskSpace,
    objective: Objective,
    key: Key,
    population: int,
    candidates: Sequence[Strategy],
    *,
    cache: Path | None = None,
) -> Tuning:
    """Measures strategies, unless a cache knows the answer.

    One that cannot be compiled here, or needs more memory than there is, is left out.

    Args:
      space: of the search.
      objective: of the search.
      key: for random genomes.
      population: candidates of a generation.
      candidates: the usual strategy first: another one must be a tenth faster to replace it.
      cache: folder of earlier answers, made if need be; None to measure in any case. What cannot
        be read or written is ignored.

    Raises:
      ValueError: there are no candidates.
      Exception: that of the usual strategy, if none works.
    """
    if not candidates:
        raise ValueError("tune needs at least one candidate strategy.")
    if known := recall(space, objective, key, population, candidates, cache=cache):
        return known
    genomes = jax.jit(partial(make_rows, space.sample))(jax.random.split(key, population))
    num_measured = min(population, max(2, *(one.chunk for one in candidates)))
    some = jax.tree.map(lambda leaf: leaf[:num_measured], genomes)
    measure = partial(_seconds_per_candidate, space, objective, key, some)
    tuning = _compare(candidates, measure)
    if cache is not None:
        _remember(_file(cache, space, objective, key, population, candidates), tuning)
    return tuning


def recall(
    space: MaskSpace,
    objective: Objective,
    key: Key,
    population: int,
    candidates: Sequence[Strategy],
    *,
    cache: Path | None,
) -> Tuning | None:
    """What `tune` found before for the same arguments on this kind of device, or None."""
    if cache is None:
        return None
    try:
        path = _file(cache, space, objective, key, population, candidates)
        found = json.loads(path.read_text(encoding="utf-8"))
        return Tuning(Strategy(**found["strategy"]), dict(found["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _compare(candidates: Sequence[Strategy], measure: Callable[[Strategy], float]) -> Tuning:
    """The usual one, which is the first, or the fastest if that is clearly faster."""
    seconds: dict[str, float | None] = {}
    first_failure: Exception | None = None
    for one in candidates:
        try:
            seconds[str(one)] = measure(one)
        except Exception as failure:  # compilers and allocators have many kinds of them
            seconds[str(one)] = None
            first_failure = first_failure or failure
    if first_failure and set(seconds.values()) == {None}:
        raise first_failure
    times = [math.inf if (time := seconds[str(one)]) is None else time for one in candidates]
    fastest = times.index(min(times))
    return Tuning(
        candidates[fastest if times[fastest] < _CLEARLY_FASTER * times[0] else 0], seconds
    )


def _seconds_per_candidate(
    space: MaskSpace, objective: Objective, key: Key, genomes: Genomes, strategy: Strategy
) -> float:
    """The fastest of a few runs."""
    program = jax.jit(partial(evaluate, strategy=strategy))
    run = program.lower(space, objective, key, genomes).compile()
    jax.block_until_ready(run(space, objective, key, genomes))
    samples = []
    for _ in range(_REPETITIONS):
        started = time.perf_counter()
        jax.block_until_ready(run(space, objective, key, genomes))
        samples.append(time.perf_counter() - started)
    return min(samples) / jax.tree.leaves(genomes)[0].shape[0]


def _file(
    cache: Path,
    space: MaskSpace,
    objective: Objective,
    key: Key,
    population: int,
    candidates: Sequence[Strategy],
) -> Path:
    """Named after the program of one evaluation, the machine and its kind of device."""

    def one(space: MaskSpace, objective: Objective, key: Key):
        return objective(key, space.decode(space.sample(key)))

    program = re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(one)(space, objective, key)))
    device = jax.devices()[0]
    machine = platform.machine(), platform.processor(), str(os.cpu_count())
    software = __version__, jax.__version__, jaxlib.__version__
    parts = (
        *software,
        *machine,
        device.platform,
        device.device_kind,
        str(population),
        *map(str, candidates),
        program,
    )
    return cache / (hashlib.sha256("\n".join(parts).encode()).hexdigest() + ".json")


def _remember(path: Path, tuning: Tuning) -> None:
    """In a file of its own, put in place in one step: searches may run side by side."""
    text = json.dumps({"strategy": asdict(tuning.strategy), "seconds": tuning.seconds}, indent=1)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        os.replace(file.name, path)
