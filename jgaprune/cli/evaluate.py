"""`jgaprune evaluate`: accuracy, or perplexity, of a saved run on labelled data."""

import json

import click

from jgaprune.cli.faults import explains_faults
from jgaprune.cli.options import normalisation_options
from jgaprune.inputs.files import read_evaluation_data
from jgaprune.report import accuracy, load_run, perplexity
from jgaprune.report.text import pairs, percent

_EPILOG = """\b
Examples:
  jgaprune evaluate --run pruned --eval-data test.npz
  jgaprune evaluate --run pruned --eval-data test.npz --weights moved/resnet20.th --json
"""


@click.command(epilog=_EPILOG)
@click.option("--run", required=True, metavar="DIR", help="Folder that prune or demo made.")
@click.option(
    "--eval-data",
    required=True,
    metavar="FILE",
    help="Labelled data: .npz with images (uint8, NHWC or NHW; or floats that are model inputs "
    "already) and labels; for a language model, tokens [N, L + 1].",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="The dense weights, if they were moved since; they must be the same file.",
)
@normalisation_options
@click.option("--json", "as_json", is_flag=True, help='Print {"dense", "pruned", "n"}.')
@explains_faults
def evaluate(
    *,
    run: str,
    eval_data: str,
    weights: str | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    as_json: bool,
) -> None:
    """Measure the dense and the pruned network on labelled data.

    Accuracy, as fractions, or the perplexity of a language model.

    Images are normalised as they were for the run unless --mean or --std say otherwise.
    """
    saved = load_run(run, weights=weights)
    model = saved.model
    inputs, labels = read_evaluation_data(eval_data, model.spec, mean, std)
    is_language = bool(model.spec.label_shape)
    measure = perplexity if is_language else accuracy
    result = {
        "dense": measure(model, model.params, model.buffers, inputs, labels),
        "pruned": measure(model, saved.params, saved.buffers, inputs, labels),
        "n": len(labels),
    }
    if as_json:
        click.echo(json.dumps(result))
    else:
        show = "perplexity {:.2f}".format if is_language else percent
        shown = {name: show(result[name]) for name in ("dense", "pruned")}
        of = "windows" if is_language else "images"
        click.echo(pairs({**shown, of: f"{len(labels):,}"}))
