"""`jgaprune convert`: foreign weights as Flax parameters on disk."""

from pathlib import Path
from typing import Any

import click

from jgaprune.cli.deliver import tell_of_moved
from jgaprune.cli.faults import collect, explains_faults
from jgaprune.cli.options import architecture_options, load_model
from jgaprune.converters.formats import write_npz, write_safetensors
from jgaprune.model import Model, ModelSpec
from jgaprune.report.document import SCHEMA_VERSION, describe_preprocessing, plain
from jgaprune.report.environment import versions
from jgaprune.report.folder import check_out, write_folder, write_json
from jgaprune.report.weights import write_tree

_EPILOG = """\b
Examples:
  jgaprune convert resnet20.th --arch cifar_resnet20 --out resnet20-flax
  jgaprune convert mlp.pth --arch mlp --arch-config activation=tanh --to safetensors --out mlp
"""


@click.command(epilog=_EPILOG)
@click.argument("source", metavar="SRC")
@architecture_options
@click.option(
    "--to",
    type=click.Choice(["orbax", "safetensors", "npz"]),
    default="orbax",
    show_default=True,
    help="Form of the parameters: a folder params/, or a file params.safetensors or params.npz.",
)
@click.option("--out", required=True, metavar="DIR", help="Folder to make for the result.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace DIR once the new one is complete. A folder that jgaprune didn't make is kept as "
    "DIR.old.",
)
@explains_faults
def convert(
    *, source: str, arch: str, arch_config: dict[str, Any], to: str, out: str, overwrite: bool
) -> None:
    """Convert pre-trained weights, a file or a folder, to Flax.

    DIR receives the parameters and buffers, named by their place in the Flax module, and
    model.json with the architecture, where every leaf came from, and how images become inputs.
    """
    place, model = collect(
        lambda: check_out(out, overwrite=overwrite),
        lambda: load_model(arch, source, arch_config),
    )
    aside = write_folder(place, lambda folder: _write(model, to, folder))
    click.echo(f"Saved {model.spec.name} in {place}: parameters and model.json.")
    tell_of_moved(aside)


def describe_spec(spec: ModelSpec) -> dict[str, Any]:
    """A model apart from its numbers, as JSON values."""
    return plain(
        {
            "schema_version": SCHEMA_VERSION,
            **vars(spec),
            "config": dict(spec.config),
            "preprocessing": describe_preprocessing(spec),
            "source": vars(spec.source) if spec.source else None,
            "tensors": {leaf: vars(tensor) for leaf, tensor in spec.tensors},
            "versions": versions(),
        }
    )


def _write(model: Model, to: str, folder: Path) -> None:
    write_json(folder / "model.json", describe_spec(model.spec))
    tree = {"params": model.params, "buffers": model.buffers}
    if to == "orbax":
        write_tree(folder / "params", tree)
        return
    named = {
        f"{kind}.{leaf}": array for kind, leaves in tree.items() for leaf, array in leaves.items()
    }
    write = write_safetensors if to == "safetensors" else write_npz
    write(folder / f"params.{to}", named)
