"""`jgaprune bench`."""

import json
from typing import Any

import click

from jgaprune import converters, engine
from jgaprune.bench import bench as measure
from jgaprune.bench.text import as_text
from jgaprune.cli.faults import explains_faults
from jgaprune.cli.options import architecture_options, load_model

_SIDE_BY_SIDE = 4
_EPILOG = """\b
Examples:
  jgaprune bench --arch paper_mnist --inputs 256 --population 8
  jgaprune bench --arch cifar_resnet20 --population 16 --json
  jgaprune bench --weights resnet20.th --inputs 512
"""


@click.command(epilog=_EPILOG)
@architecture_options
@click.option("--weights", metavar="FILE", help="Weights to measure with.  [default: random ones]")
@click.option(
    "--inputs",
    "num_inputs",
    default=256,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Inputs that every mask is evaluated on.",
)
@click.option(
    "--population",
    default=8,
    show_default=True,
    type=click.IntRange(min=2),
    metavar="P",
    help="Masks per generation.",
)
@click.option(
    "--strategy",
    "form",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *engine.FORMS]),
    help="How the population is evaluated; auto measures all and takes the fastest.",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    metavar="C",
    help="Masks evaluated side by side, where a strategy has chunks.  [default: "
    f"{_SIDE_BY_SIDE}, or for auto what suits the memory]",
)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(engine.DTYPES),
    help="Of the operands of matrix products and convolutions.",
)
@click.option(
    "--rounds",
    default=5,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="R",
    help="Measurements of each; medians are shown.",
)
@click.option("--rivals/--no-rivals", default=True, show_default=True, help="Time others, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@explains_faults
def bench(
    *,
    arch: str,
    arch_config: dict[str, Any],
    weights: str | None,
    num_inputs: int,
    population: int,
    form: str,
    chunk: int | None,
    dtype: str,
    rounds: int,
    rivals: bool,
    as_json: bool,
) -> None:
    """Measure how many masked forward passes per second this machine does.

    One generation of a search over packed masks is timed in turns with a large matrix product, the
    unmasked network, a plain vmap in JAX and, where PyTorch is installed, the paper's loop,
    a loop over ready masks and torch.func.vmap. A forward is one mask on all inputs.
    """
    if weights is None and arch == "auto":
        raise click.UsageError("say which network: --arch NAME, or --weights FILE.")
    if weights is None:
        model = converters.untrained(arch, **arch_config)
    else:
        model = load_model(arch, weights, arch_config)
    size = 1 if form == "sequential" else min(chunk or _SIDE_BY_SIDE, population)
    strategy = None if form == "auto" else engine.Strategy(form, size, dtype)
    result = measure(
        model,
        num_inputs=num_inputs,
        population=population,
        strategy=strategy,
        dtype=dtype,
        chunk=chunk,
        rounds=rounds,
        rivals=rivals,
    )
    click.echo(json.dumps(result, indent=2) if as_json else as_text(result))
