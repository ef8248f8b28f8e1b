"""Is `from_torch` right for other people's networks, and how fast beside an explicit one?

Every network of `jgaprune.bench.torch_zoo` that can be imported is converted and compared with
PyTorch on the same random weights: seconds to convert and to compile, and the relative error of
the logits, beside PyTorch's own to its float64. Then populations of masks of ResNet-18 are
evaluated: loaded as the architecture it is (`converters.load`, channels last), and through
`from_torch`, in turns, the same masks and inputs.

    python benchmarks/from_torch.py

Writes a JSON file. Needs PyTorch. `--smoke` tries one small network and keeps nothing.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from documents import SPARSITY, document, out_path, parser, spread, strategy_of, write

from jgaprune import converters
from jgaprune.bench import in_turns
from jgaprune.bench.ours import make_task
from jgaprune.converters.formats import write_pth
from jgaprune.engine import evaluate
from jgaprune.model import Model
from jgaprune.types import Array

_NUM_INPUTS = 3
_EXAMPLE = 2


def main() -> None:
    """Writes after every network, so that a stopped run keeps what it has done."""
    options = _options()
    try:
        from jgaprune.bench import torch_zoo
    except ImportError as error:
        print(f"PyTorch is not here: {error}")
        return
    found, missing = torch_zoo.available()
    names = options.networks if options.networks is not None else [*found]
    results: dict[str, Any] = {"networks": [], "missing": missing, "speed": []}
    for name in names:
        if name in found:
            results["networks"].append(_compared(name, found[name]))
            _keep(options, results)
    for form in options.strategies:
        results["speed"].append(_raced(options, form))
        _keep(options, results)


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--networks", nargs="*", help="names of the zoo; all by default")
    made.add_argument("--strategies", nargs="*", default=["sequential", "vmap", "matmul"])
    made.add_argument("--population", type=int, default=8)
    made.add_argument("--inputs", type=int, default=4)
    made.add_argument("--size", type=int, default=112, help="height and width of the images")
    made.add_argument("--rounds", type=int, default=7)
    options = made.parse_args()
    if options.smoke:
        options.networks, options.strategies = [], ["sequential"]
        options.population, options.inputs, options.size, options.rounds = 2, 2, 32, 1
    options.out = out_path(options, "from_torch")
    return options


def _keep(options: argparse.Namespace, results: dict[str, Any]) -> None:
    if not options.smoke:
        write(options.out, document(__doc__, torch=_torch_version(), **results))


def _torch_version() -> str:
    import torch

    return str(torch.__version__)


def _compared(name: str, entry: Any) -> dict[str, Any]:
    """One network against PyTorch."""
    module, inputs = entry.build(), entry.inputs(_NUM_INPUTS)
    started = time.perf_counter()
    model = converters.from_torch(module, inputs[:_EXAMPLE])
    converted = time.perf_counter()
    forward = jax.jit(model.apply).lower(model.params, model.buffers, inputs.numpy()).compile()
    compiled = time.perf_counter()
    logits = np.asarray(forward(model.params, model.buffers, inputs.numpy()))
    reference = _their_logits(module, inputs)
    exact = _their_logits(
        module.double(), inputs.double() if inputs.is_floating_point() else inputs
    )
    result = {
        "network": name,
        "inputs": list(inputs.shape),
        "parameters": sum(leaf.size for leaf in model.params.values()),
        "prunable_weights": model.layout.num_weights,
        "batch_norm_layers_seen": len(model.spec.norms),
        "convert_seconds": round(converted - started, 2),
        "compile_seconds": round(compiled - converted, 2),
        "max_relative_error": _relative_error(logits, reference),
        "max_relative_error_to_float64": _relative_error(logits, exact),
        "max_relative_error_of_torch_to_float64": _relative_error(reference, exact),
        "largest_difference_between_inputs": float(np.ptp(reference, axis=0).max()),
        "max_logit": float(np.abs(reference).max()),
        "same_arg_max": bool((logits.argmax(-1) == reference.argmax(-1)).all()),
    }
    print(result, flush=True)
    return result


def _relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _their_logits(module: Any, inputs: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        output = module(inputs)
    return getattr(output, "logits", output).numpy()


def _raced(options: argparse.Namespace, form: str) -> dict[str, Any]:
    """ResNet-18 both ways under one strategy: seconds per population."""
    explicit, converted, images = _both(options.size, options.inputs)
    strategy = strategy_of(form, options.population, "float32")
    key = jax.random.key(0)
    runners: dict[str, Callable[[], object]] = {}
    about: dict[str, dict[str, Any]] = {}
    fitness: dict[str, Array] = {}
    for name, model, inputs in (
        ("explicit", explicit, images.transpose(0, 2, 3, 1)),
        ("from_torch", converted, images),
    ):
        task = make_task(model, jnp.asarray(inputs), options.population, SPARSITY, key)
        arguments = task.space, task.objective, key, task.genomes
        started = time.perf_counter()
        lowered = jax.jit(evaluate, static_argnames="strategy").lower(*arguments, strategy=strategy)
        program = lowered.compile()
        seconds = time.perf_counter() - started
        memory = program.memory_analysis()
        temporary = None if memory is None else memory.temp_size_in_bytes
        about[name] = {"compile_seconds": round(seconds, 2), "temporary_bytes": temporary}
        runners[name] = lambda run=program, given=arguments: jax.block_until_ready(run(*given))
        fitness[name] = program(*arguments)[0]
    timings = in_turns(runners, rounds=options.rounds)
    ratios = [
        one / other
        for one, other in zip(
            timings["from_torch"].samples, timings["explicit"].samples, strict=True
        )
    ]
    result = {
        "network": "resnet18",
        "strategy": str(strategy),
        "population": options.population,
        "inputs": [*images.shape],
        **{name: {"seconds": spread(timings[name]), **about[name]} for name in runners},
        "from_torch_over_explicit": float(np.median(ratios)),
    }
    print(result, flush=True)
    return result


def _both(size: int, num_inputs: int) -> tuple[Model, Model, np.ndarray]:
    """ResNet-18 as an architecture and through torch, of one state, and images channels first."""
    import torch

    from jgaprune.bench.torch_cnns import ResNet
    from jgaprune.bench.torch_zoo import shaken

    module = shaken(ResNet(18))
    images = np.random.default_rng(0).standard_normal((num_inputs, 3, size, size), np.float32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "resnet18.pth"
        write_pth(path, {name: tensor.numpy() for name, tensor in module.state_dict().items()})
        explicit = converters.load("resnet18", path)
    return explicit, converters.from_torch(module, torch.from_numpy(images)), images


if __name__ == "__main__":
    main()
