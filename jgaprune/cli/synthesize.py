"""`jgaprune synthesize`: the inputs that a search without data would see, as a file."""

import os
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from jgaprune.cli.faults import collect, explains_faults
from jgaprune.cli.options import architecture_options, load_model, normalisation_options
from jgaprune.driver.inputs import NUM_INPUTS, made_inputs
from jgaprune.driver.wiring import split_key
from jgaprune.report.sheet import draw_sheet
from jgaprune.report.text import pairs

_EPILOG = """\b
Examples:
  jgaprune synthesize --weights resnet20.th --out inputs.npz
  jgaprune prune --weights resnet20.th --sparsity 0.8 --inputs inputs.npz --no-supplement \\
    --out pruned
"""


@click.command(epilog=_EPILOG)
@click.option("--weights", required=True, metavar="FILE", help="Pre-trained weights.")
@architecture_options
@click.option(
    "--num",
    default=NUM_INPUTS,
    show_default=True,
    type=click.IntRange(min=2),
    metavar="N",
    help="How many; they are made together.",
)
@click.option(
    "--key",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**32 - 1),
    metavar="K",
    help="Same key, same machine: same inputs, those of prune --seed K.",
)
@normalisation_options
@click.option("--out", required=True, metavar="FILE", help="The .npz to write.")
@click.option("--overwrite", is_flag=True, help="Replace FILE and its .png.")
@explains_faults
def synthesize(
    *,
    weights: str,
    arch: str,
    arch_config: dict[str, Any],
    num: int,
    key: int,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    out: str,
    overwrite: bool,
) -> None:
    """Make model inputs from a network alone, without any data.

    FILE receives them as floats that are model inputs already, in the array images; prune
    --inputs takes it. A PNG beside it shows the first hundred as images.
    """
    place, model = collect(
        lambda: _check_file(Path(out), overwrite=overwrite),
        lambda: load_model(arch, weights, arch_config, mean, std),
    )
    made = made_inputs(model, split_key(key).inputs, num)
    inputs = np.asarray(made.all)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        draft = Path(folder) / place.name
        np.savez(draft, images=inputs)
        drawn = draw_sheet(inputs, model.spec, draft.with_suffix(".png"))
        for suffix in (".png", ".npz") if drawn else (".npz",):
            os.replace(draft.with_suffix(suffix), place.with_suffix(suffix))
    sheet = place.with_suffix(".png") if drawn else "none: the inputs are no images"
    about = {
        "inputs": f"float32 {list(inputs.shape)}, {made.origin}, from {model.spec.name}",
        "range": f"{inputs.min():.4g} to {inputs.max():.4g}",
        "saved": f"{place}",
        "contact sheet": f"{sheet}",
    }
    click.echo(pairs(about))
    for sentence in made.warnings:
        click.echo(f"jgaprune: warning: {sentence}", err=True)


def _check_file(path: Path, *, overwrite: bool) -> Path:
    """The absolute path; refuses what would be lost, and what could not be read back."""
    place = Path(os.path.realpath(path))
    if place.suffix != ".npz":
        raise ValueError(f"{place}: inputs are written as .npz; name the file so.")
    for one in (place, place.with_suffix(".png")):
        if one.is_dir():
            raise ValueError(f"{one} is a folder; choose another name.")
        if one.exists() and not overwrite:
            raise ValueError(
                f"{one} exists. Choose another name, or allow to replace it (--overwrite)."
            )
    ground = next(folder for folder in place.parents if folder.exists())
    if not ground.is_dir() or not os.access(ground, os.W_OK | os.X_OK):
        raise ValueError(f"no file can be made in {ground}. Choose another place.")
    return place
