"""`jgaprune resume`: goes on with a run that was kept on the disk."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from jgaprune.agreement import on_first, shared
from jgaprune.checkpoint import read_document
from jgaprune.cli.checkpoints import beside, params_of
from jgaprune.cli.device_options import memory_option
from jgaprune.cli.faults import explains_faults
from jgaprune.cli.launch import connect, launch_options
from jgaprune.cli.logs import Target, log_option
from jgaprune.cli.prune import prune
from jgaprune.cli.search import search_and_save
from jgaprune.cli.search_options import output_options
from jgaprune.driver import MANIFEST, Checkpoints

_EPILOG = """\b
Examples:
  jgaprune resume pruned
  Ten generations more for a run that is over, in place of its result:
    jgaprune resume pruned --generations 10 --overwrite
"""


@click.command(epilog=_EPILOG)
@click.argument("folder", metavar="DIR")
@click.option(
    "--generations", type=click.IntRange(min=1), metavar="T", help="Go on for T more generations."
)
@click.option(
    "--evaluations", type=click.IntRange(min=1), metavar="N", help="Go on for N more masks."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Go on for so many more seconds of searching.",
)
@click.option("--weights", metavar="FILE", help="The dense weights, if they were moved since.")
@click.option("--mesh", metavar="AXES", help="Other devices than before, such as pop=4.")
@memory_option
@launch_options
@click.option("--out", metavar="DIR", help="Another folder for the result.")
@output_options
@log_option
@explains_faults
def resume(
    folder: str,
    weights: str | None,
    mesh: str | None,
    out: str | None,
    memory_limit: int | None,
    logs: list[Target],
    **options: Any,
) -> None:
    """Go on with a run that was kept by prune --checkpoint-every, to the same masks.

    DIR is its folder of checkpoints, or the one that its result was to be saved in. Without a
    budget the run goes on to the end that it was begun with, on as many processes as it is given
    now. Other settings can't be given: a run with other settings, or of another model, is another
    run. It is logged where it was, or where --log says instead.
    """
    connect(options)
    place, command = json.loads(shared(json.dumps(on_first(partial(_kept, folder))).encode()))
    params = params_of(prune, command)
    budget = {name: options.pop(name) for name in ("generations", "evaluations", "seconds")}
    further = any(value is not None for value in budget.values())
    every, keep = params.pop("checkpoint_every"), params.pop("keep_checkpoints")
    params.pop("checkpoint_dir")
    moved: dict[str, Any] = {"weights": weights, "mesh": mesh, "out": out, "logs": logs}
    moved["memory_limit"] = memory_limit
    params |= options | {name: value for name, value in moved.items() if value}
    if further:
        params |= budget
    checkpoints = Checkpoints(
        place,
        every=every or "60s",
        keep=keep,
        resume=True,
        further=further,
        command=command,
    )
    search_and_save(params, checkpoints)


def _kept(folder: str) -> tuple[str, dict[str, Any]]:
    """Where the run is, and the command that began it."""
    place = _place(folder)
    kept = read_document(place / MANIFEST)
    if kept is None:
        raise ValueError(
            f"{folder} holds no run: expected {MANIFEST} in it or in {beside(folder)}. A run is "
            "kept by prune --checkpoint-every."
        )
    if not kept.get("command"):
        raise ValueError(
            f"the run in {place} was begun in Python: call prune again with the same arguments and "
            "checkpoint_dir=Checkpoints(..., resume=True)."
        )
    return str(place), kept["command"]


def _place(folder: str) -> Path:
    """The folder itself, or the one beside it."""
    itself, other = Path(folder), Path(beside(folder))
    return other if not (itself / MANIFEST).exists() and other.exists() else itself
