"""`jgaprune demo`."""

import json
from pathlib import Path

import click

from jgaprune.cli.deliver import bytes_of_result, deliver, end_as
from jgaprune.cli.faults import explains_faults
from jgaprune.cli.interrupts import interruptible
from jgaprune.cli.progress import shown_progress
from jgaprune.demo import SPARSITY, load_demo, prune_demo
from jgaprune.report import check_out
from jgaprune.report.text import percent


@click.command()
@click.option(
    "--out", default="jgaprune-demo", show_default=True, metavar="DIR", help="Folder to make."
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace DIR even if it is not an earlier demo's. A folder that jgaprune didn't make is "
    "kept as DIR.old.",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of the table.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@explains_faults
def demo(*, out: str, overwrite: bool, as_json: bool, quiet: bool) -> None:
    """Prune the small network that comes along, without any data.

    A convolutional classifier of handwritten digits with batch-norm layers. The search sees
    nothing but its weights; the test images that come along only measure the result.
    """
    overwrite = overwrite or _is_demo(Path(out))
    model = load_demo()
    check_out(out, overwrite=overwrite, num_bytes=bytes_of_result(model))
    if not as_json:
        click.echo(f"Pruning {percent(SPARSITY)} of the weights of a digits classifier, no data.\n")
    with interruptible() as interrupts:
        with shown_progress(quiet=quiet) as show:
            report = prune_demo(model, on_record=interrupts.between_generations(show))
        deliver(report, out, overwrite=overwrite, as_json=as_json)
        end_as(report)


def _is_demo(folder: Path) -> bool:
    """Whether a folder is an earlier demo's."""
    try:
        document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return document["settings"]["demo"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False
