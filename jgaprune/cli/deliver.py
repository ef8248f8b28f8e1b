"""The end of `prune` and `demo`: the comparison on the screen, the run on the disk."""

import json
from pathlib import Path

import click

from jgaprune.cli.faults import INTERRUPTED
from jgaprune.model import Model
from jgaprune.report import Report, choice, comparison, save_folder


def deliver(report: Report, out: str, *, overwrite: bool, as_json: bool) -> None:
    """Prints the comparison, saves the run and says where it is.

    The comparison comes first: it is not lost if the disk turns out to be full.
    """
    if not as_json:
        click.echo("\n\n".join(filter(None, (comparison(report), choice(report)))))
    place, written, aside = save_folder(report, out, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(written.to_json(), indent=2))
    else:
        content = ", ".join(sorted(path.name for path in place.iterdir()))
        click.echo(f"\nSaved in {place}: {content}.")
    for sentence in written.warnings:
        click.echo(f"jgaprune: warning: {sentence}", err=True)
    tell_of_moved(aside)
    if report.interrupted:
        click.echo(
            f"jgaprune: interrupted after {report.evaluations:,} evaluations; the best so far is "
            f"in {place}.",
            err=True,
        )


def end_as(report: Report) -> None:
    """Exit 130 if the run was interrupted."""
    if report.interrupted:
        raise click.exceptions.Exit(INTERRUPTED)


def tell_of_moved(aside: Path | None) -> None:
    """Says where a folder is that had to give way, if there was one."""
    if aside is not None:
        click.echo(f"jgaprune: the folder that was there is now {aside}.", err=True)


def bytes_of_result(model: Model) -> int:
    """About how large a run's folder becomes.

    Flax folder, the source's form, perhaps a .pth, and 4 MB of masks and plots.
    """
    arrays = [*model.params.values(), *model.buffers.values()]
    return 3 * sum(array.nbytes for array in arrays) + 4_000_000
