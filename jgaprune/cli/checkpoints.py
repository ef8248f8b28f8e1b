"""Options of runs that are kept on the disk, and the command line that a run was begun with."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import click

from jgaprune.cli.launch import without_launch
from jgaprune.driver import Checkpoints

_PATHS = ("weights", "inputs", "eval_data", "out", "checkpoint_dir")
_BESIDE = ".checkpoints"
_ARGUMENTS = "jgaprune.arguments"


class RememberedCommand(click.Command):
    """A command that keeps its arguments as they were typed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Notes them, and parses them; how it was launched is not the run's."""
        ctx.meta[_ARGUMENTS] = without_launch(args)
        return super().parse_args(ctx, args)


def checkpoint_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--checkpoint-every`, `--checkpoint-dir` and `--keep-checkpoints`."""
    command = click.option(
        "--keep-checkpoints",
        type=click.IntRange(min=1),
        default=2,
        show_default=True,
        metavar="K",
        help="How many to keep: an older one serves where a newer is damaged.",
    )(command)
    command = click.option(
        "--checkpoint-dir",
        metavar="DIR",
        help="Where to keep the run.  [default, with --checkpoint-every: that of --out, and "
        f"{_BESIDE}]",
    )(command)
    return click.option(
        "--checkpoint-every",
        metavar="N|TIME",
        help="Keep the run on the disk every N generations, or every 30s, 5m or 2h, so that "
        "jgaprune resume can go on with it, to the same masks, however it was stopped.  "
        "[default: not; with --checkpoint-dir 60s]",
    )(command)


def checkpoints_of(params: dict[str, Any], context: click.Context) -> Checkpoints | None:
    """Takes these options out of a command's parameters.

    Raises:
      click.BadParameter: the interval is none.
    """
    every, folder = params.pop("checkpoint_every"), params.pop("checkpoint_dir")
    keep = params.pop("keep_checkpoints")
    if every is None and folder is None:
        return None
    command = {"arguments": context.meta[_ARGUMENTS], "folder": os.getcwd()}
    found = Checkpoints(
        folder or beside(params["out"]), every=every or "60s", keep=keep, command=command
    )
    if faults := found.faults():
        raise click.BadParameter("; ".join(faults) + ".", param_hint="--checkpoint-every")
    return found


def beside(out: str) -> str:
    """Where the checkpoints of a result folder are by default."""
    return out.rstrip("/\\") + _BESIDE


def params_of(command: click.Command, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a command line that was kept; its paths are those they were."""
    with command.make_context(command.name, list(kept["arguments"])) as context:
        params = dict(context.params)
    for name in _PATHS:
        if params.get(name):
            params[name] = os.path.join(kept["folder"], params[name])
    params["logs"] = [log.seen_from(kept["folder"]) for log in params["logs"]]
    params["seed_runs"] = [os.path.join(kept["folder"], run) for run in params["seed_runs"]]
    return params
