"""How much faster is a training step's gradient on a CPU, with those of kernels in parts?

The gradient of the loss of training (`jgaprune.training.imitation`) with respect to all weights, on
a batch of noise: by `jax.grad`, and as training computes it. Compilation apart; rounds in turns.

    python benchmarks/gradients.py --network cifar_resnet20.th --network mnist_lenet5.pt

The demo's network always takes part. Told, too, is how many convolutions the programs have.
`--smoke` takes one round, and keeps nothing.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from documents import document, out_path, parser, spread, write

from jgaprune import converters
from jgaprune.bench import in_turns
from jgaprune.demo import WEIGHTS
from jgaprune.inputs import gaussian_noise
from jgaprune.model import Model
from jgaprune.training import Training, imitation
from jgaprune.training.gradient import gradient_of

WAYS: dict[str, Callable[..., Any]] = {"jax.grad": jax.grad, "in parts": gradient_of}


def main() -> None:
    """Times both ways on every network and writes after each."""
    options = _options()
    cells: list[dict[str, Any]] = []
    for path in [WEIGHTS, *options.network]:
        cells.append(_cell(converters.load("auto", path), options))
        print(cells[-1], flush=True)
        if not options.smoke:
            write(options.out, document(__doc__, batch=options.batch, cells=cells))


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--network", action="append", default=[], help="a file of weights")
    arguments.add_argument("--batch", type=int, default=Training().batch)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    if options.smoke:
        options.rounds = 1
    options.out = out_path(options, "gradients")
    return options


def _cell(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    inputs = gaussian_noise(model.spec, jax.random.key(0), options.batch)
    runners, compiled, sizes = {}, {}, {}
    jax.block_until_ready(jax.jit(jax.grad(imitation(model)))(model.params, inputs[:1]))
    for name, way in WAYS.items():
        jax.clear_caches()
        started = time.perf_counter()
        lowered = jax.jit(way(imitation(model))).lower(model.params, inputs)
        program = lowered.compile()
        compiled[name] = time.perf_counter() - started
        sizes[name] = lowered.as_text().count("stablehlo.convolution")
        runners[name] = partial(_run, program, model.params, inputs)
    times = in_turns(runners, rounds=options.rounds)
    plain, ours = (times[name].samples for name in WAYS)
    return {
        "model": model.spec.name,
        "convolutions": sizes,
        "compile_seconds": compiled,
        "seconds": {name: spread(one) for name, one in times.items()},
        "times_as_fast": sorted(a / b for a, b in zip(plain, ours, strict=True))[len(ours) // 2],
    }


def _run(program: Callable[..., Any], *arguments: Any) -> Any:
    return jax.block_until_ready(program(*arguments))


if __name__ == "__main__":
    main()
