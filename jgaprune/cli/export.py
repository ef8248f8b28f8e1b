"""`jgaprune export`: a run's pruned weights as files that their own framework loads."""

import json
from pathlib import Path
from typing import Any

import click

from jgaprune import converters
from jgaprune.cli.faults import collect, explains_faults
from jgaprune.converters.sizes import COMPRESSION, SPEED, Sizes, sizes_on_disk
from jgaprune.converters.targets import TARGETS, check_target
from jgaprune.model import Source
from jgaprune.report import load_run
from jgaprune.report.text import percent, table

_EPILOG = """\b
Examples:
  jgaprune export --run pruned --to torch --out pruned.pth
  jgaprune export --run pruned --to hf --out pruned-model
  jgaprune export --run pruned --to safetensors --out pruned.safetensors --weights moved.pth
"""


@click.command(epilog=_EPILOG)
@click.option("--run", required=True, metavar="DIR", help="Folder that prune or demo made.")
@click.option(
    "--to",
    required=True,
    type=click.Choice(TARGETS),
    help="Form: a state_dict of PyTorch, .safetensors, a Hugging Face folder, a Keras file (the "
    "last two for weights that came from one), or .npz.",
)
@click.option(
    "--out",
    required=True,
    metavar="PATH",
    help="File to make, or folder for hf. The masks, one bit per weight, go beside a file as "
    "NAME.masks.npz and into a folder as masks.npz.",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="The dense weights, if they were moved since; they must be the same file.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@explains_faults
def export(
    *, run: str, to: str, out: str, weights: str | None, overwrite: bool, as_json: bool
) -> None:
    """Give pruned weights back to where they came from.

    Names, layouts and dtypes are those of the source, counters included, so that PyTorch's
    load_state_dict(strict=True) takes them. Removed weights are zeros. Says how large all of it
    is on disk, and how to apply the masks elsewhere.
    """
    _, saved = collect(
        lambda: check_target(to, out, overwrite=overwrite),
        lambda: load_run(run, weights=weights),
    )
    model = saved.model
    masks = converters.load_masks(Path(run) / "masks.npz")
    exported = converters.export(
        model,
        saved.params,
        saved.buffers,
        to=to,
        out=out,
        masks=converters.masks_from_source(model, masks),
        overwrite=overwrite,
    )
    sizes = sizes_on_disk(model, masks, exported)
    if as_json:
        click.echo(json.dumps(_document(to, exported, model.spec.source, sizes), indent=2))
    else:
        click.echo(_as_text(to, exported, model.spec.source, sizes))


def _document(
    to: str, exported: converters.Exported, source: Source | None, sizes: Sizes
) -> dict[str, Any]:
    return {
        "to": to,
        "weights": str(exported.weights),
        "masks": str(exported.masks),
        "num_tensors": exported.num_tensors,
        "source": source and vars(source),
        "bytes": vars(sizes),
        "compression": COMPRESSION,
        "speed": SPEED,
    }


def _as_text(to: str, exported: converters.Exported, source: Source | None, sizes: Sizes) -> str:
    place = source.path if source else ""
    head = (
        f"Saved in {exported.weights}: {exported.num_tensors:,} tensors under the names and in the "
        f"layouts and dtypes of {place}.\nMasks, one bit per weight: {exported.masks}."
    )
    parts = [head, _sizes_table(sizes), SPEED, _how_to_load(to, exported.weights)]
    return "\n\n".join([*parts, _how_to_mask(to, exported)])


def _sizes_table(sizes: Sizes) -> str:
    rows = [["size on disk", "bytes", "of dense"]]
    named = {
        "dense": sizes.dense,
        f"dense, {COMPRESSION}": sizes.dense_compressed,
        "zeroed (this export)": sizes.zeroed,
        f"zeroed, {COMPRESSION}": sizes.zeroed_compressed,
        "kept values + masks in bits": sizes.packed,
    }
    rows += [[name, f"{size:,}", percent(size / sizes.dense)] for name, size in named.items()]
    return table(rows)


def _how_to_load(to: str, path: Path) -> str:
    shown = repr(str(path))
    keras = "keras.models.load_model" if path.suffix == ".keras" else "model.load_weights"
    loaders = {
        "torch": f"model.load_state_dict(torch.load({shown}), strict=True)",
        "safetensors": f"model.load_state_dict(safetensors.torch.load_file({shown}), strict=True)",
        "hf": f"AutoModel.from_pretrained({shown}), or the class that the source was saved from",
        "keras": f"{keras}({shown})",
        "npz": f"numpy.load({shown})",
    }
    return f"To load it: {loaders[to]}"


def _how_to_mask(to: str, exported: converters.Exported) -> str:
    if to in ("keras", "npz"):
        return (
            "To read the masks: jgaprune.converters.load_masks; or numpy.load, where element i of "
            "NAME is bit i % 8 of byte i // 8, and NAME.shape is its shape."
        )
    code = converters.torch_snippet(str(exported.masks))
    lines = "\n".join(f"  {line}".rstrip() for line in code.splitlines())
    return f"To apply the masks to a PyTorch model of these names:\n\n{lines}"
