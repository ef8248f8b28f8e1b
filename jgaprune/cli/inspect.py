"""`jgaprune inspect`: what is in a weight file."""

import json
import math
from typing import Any

import click

from jgaprune import converters
from jgaprune.cli.faults import explains_faults
from jgaprune.cli.options import architecture_options, tell_assumed
from jgaprune.converters.formats import SourceFile, read
from jgaprune.model import Model
from jgaprune.report.document import plain
from jgaprune.report.text import pairs, table

_EPILOG = """\b
Examples:
  jgaprune inspect resnet20.th
  jgaprune inspect resnet20.th --arch cifar_resnet20
  jgaprune inspect weights.safetensors --json
"""


@click.command(epilog=_EPILOG)
@click.argument("weights", metavar="SRC")
@architecture_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@explains_faults
def inspect(*, weights: str, arch: str, arch_config: dict[str, Any], as_json: bool) -> None:
    """List the tensors of a weight file or folder, its architecture, and what is prunable.

    Nothing in it is executed. Tensors show the names, shapes and types of the file, and
    the names they have in Flax.
    """
    source = read(weights)
    model, reason = None, None
    try:
        model = converters.load(arch, weights, **arch_config)
    except converters.ConversionError as error:
        if arch != "auto":
            raise
        reason = str(error)
    if model:
        tell_assumed(model)
    document = describe(source, model, reason)
    click.echo(json.dumps(document, indent=2) if as_json else _as_text(document))


def describe(source: SourceFile, model: Model | None, reason: str | None) -> dict[str, Any]:
    """A weight file as JSON values; `model` and its facts are None if it isn't recognised."""
    leaves = {tensor.name: leaf for leaf, tensor in model.spec.tensors} if model else {}
    prunable = set(model.spec.prunable) if model else set()
    tensors = [
        {
            "name": name,
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "leaf": leaves.get(name),
            "prunable": leaves.get(name) in prunable if model else None,
        }
        for name, array in source.tensors.items()
    ]
    architecture = {"name": model.spec.name, "config": dict(model.spec.config)} if model else None
    return plain(
        {
            "path": source.path,
            "format": source.format,
            "sha256": source.sha256,
            "architecture": architecture,
            "reason": reason,
            "num_weights": {
                "total": sum(math.prod(array.shape) for array in source.tensors.values()),
                "prunable": model.layout.num_weights if model else None,
            },
            "metadata": source.metadata,
            "tensors": tensors,
        }
    )


def _as_text(document: dict[str, Any]) -> str:
    counts, architecture = document["num_weights"], document["architecture"]
    head = {"source": document["path"], "format": document["format"], "sha256": document["sha256"]}
    if architecture:
        config = (f"{key}={value}" for key, value in architecture["config"].items())
        head["architecture"] = " ".join([architecture["name"], *config])
        head["numbers"] = f"{counts['total']:,}, of which {counts['prunable']:,} are prunable"
    else:
        head["architecture"] = "not recognised"
        head["numbers"] = f"{counts['total']:,}"
    marks = {True: "yes", False: "no", None: "-"}
    rows = [["tensor", "shape", "dtype", "prunable", "leaf in Flax"]]
    for tensor in document["tensors"]:
        shape = "x".join(map(str, tensor["shape"])) or "scalar"
        mark = marks[tensor["prunable"]]
        rows.append([tensor["name"], shape, tensor["dtype"], mark, tensor["leaf"] or "-"])
    parts = [pairs(head), table(rows)]
    return "\n\n".join([*parts, document["reason"]] if document["reason"] else parts)
