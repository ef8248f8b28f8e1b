"""`jgaprune verify`: the converted model beside the original framework's."""

import json
from typing import Any

import click
import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.bench.parity import DIFFERENCE, INCONCLUSIVE, PARITY, Parity, compare
from jgaprune.cli.faults import explains_faults
from jgaprune.cli.options import architecture_options, load_model, normalisation_options
from jgaprune.converters.formats import torch_available
from jgaprune.inputs.files import read_inputs
from jgaprune.model import Model
from jgaprune.report.document import plain
from jgaprune.report.text import pairs, percent, table

NO_PARITY = 1
_MOST_GIVEN = 256
_EPILOG = """\b
Examples:
  jgaprune verify resnet20.th --against torch
  jgaprune verify resnet20.th --inputs images.npz
  jgaprune verify weights.pth --module mypackage.models:resnet20 --json
"""


@click.command(epilog=_EPILOG)
@click.argument("source", metavar="SRC")
@architecture_options
@click.option(
    "--against",
    type=click.Choice(["torch"]),
    default="torch",
    show_default=True,
    help="Framework to compare with.",
)
@click.option(
    "--module",
    metavar="PLACE",
    help="Your own network, package.module:factory; the module is imported from the current "
    "folder, and the factory called without arguments.  [default: a known one of --arch]",
)
@click.option(
    "--inputs",
    metavar="FILE",
    help=f"Real inputs, too (the first {_MOST_GIVEN}): images or tokens as prune takes them.",
)
@click.option(
    "--num-inputs",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    metavar="N",
    help="Random inputs.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="What our model computes in; PyTorch's always in float64.",
)
@normalisation_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@explains_faults
def verify(
    *,
    source: str,
    arch: str,
    arch_config: dict[str, Any],
    against: str,
    module: str | None,
    inputs: str | None,
    num_inputs: int,
    dtype: str,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    as_json: bool,
) -> None:
    """Check that a converted network gives the logits of the original.

    Both get the same weights and inputs. Logits that are dead, near zero or the same for all
    inputs, prove nothing: inconclusive. Exit codes: 0 parity, 1 a difference or inconclusive, 2
    bad usage or input.
    """
    _require_torch()
    model = load_model(arch, source, arch_config, mean, std)
    shown = {"random": _random_inputs(model, num_inputs)}
    if inputs:
        shown["given"] = read_inputs(inputs, model.spec)[:_MOST_GIVEN]
    network = _reference(model, module)
    checks = {name: _check(model, network, given, dtype) for name, given in shown.items()}
    verdict = _overall([check.verdict for check in checks.values()])
    document = {
        "source": source,
        "architecture": model.spec.name,
        "against": against,
        "module": module,
        "verdict": verdict,
        "checks": {name: vars(check) for name, check in checks.items()},
    }
    click.echo(json.dumps(plain(document), indent=2) if as_json else _as_text(document, checks))
    if verdict != PARITY:
        raise click.exceptions.Exit(NO_PARITY)


def _require_torch() -> None:
    if not torch_available():
        raise ValueError(
            "verify needs torch, which isn't installed: pip install 'jgaprune[torch]'. PyTorch's "
            "page on installing it says how to get the smaller one for CPUs alone."
        )


def _reference(model: Model, module: str | None) -> Any:
    # torch takes seconds to import, and is no part of the core.
    from jgaprune.bench.torch_verify import known_network, own_network

    return own_network(model, module) if module else known_network(model)


def _check(model: Model, network: Any, inputs: np.ndarray, dtype: str) -> Parity:
    from jgaprune.bench.torch_logits import logits_of

    return compare(_our_logits(model, inputs, dtype), logits_of(network, inputs), inputs)


def _our_logits(model: Model, inputs: np.ndarray, dtype: str) -> np.ndarray:
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        params, buffers, shown = jax.tree.map(
            lambda leaf: _in_dtype(leaf, dtype), (model.params, model.buffers, inputs)
        )
        return np.asarray(jax.jit(model.apply)(params, buffers, shown))


def _in_dtype(leaf: Any, dtype: str) -> jax.Array:
    array = np.asarray(leaf)
    return jnp.asarray(array.astype(dtype) if array.dtype.kind == "f" else array)


def _random_inputs(model: Model, count: int) -> np.ndarray:
    random, spec = np.random.default_rng(0), model.spec
    shape = (count, *spec.input_shape)
    if spec.vocabulary is not None:
        return random.integers(0, spec.vocabulary, shape, dtype=np.int32)
    return random.standard_normal(shape).astype(np.float32)


def _overall(verdicts: list[str]) -> str:
    return next((one for one in (DIFFERENCE, INCONCLUSIVE) if one in verdicts), PARITY)


def _as_text(document: dict[str, Any], checks: dict[str, Parity]) -> str:
    head = {name: document[name] for name in ("source", "architecture")}
    head["against"] = f"{document['against']}, {document['module'] or 'a known network'}"
    rows = [
        ["inputs", "number", "max|delta|", "max|reference|", "relative", "tolerance", "arg-max"]
    ]
    for name, check in checks.items():
        numbers = (check.max_delta, check.max_reference, check.relative, check.tolerance)
        shown = [f"{number:.3g}" for number in numbers]
        rows.append([name, str(check.num_inputs), *shown, percent(check.agreement)])
    reasons = [f"{name} inputs: {check.reason}." for name, check in checks.items() if check.reason]
    return "\n\n".join([pairs(head), table(rows), "\n".join([document["verdict"], *reasons])])
