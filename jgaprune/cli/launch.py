"""Options that connect the processes of a run.

They belong to its launch, and not to the run: `resume` is launched in another way, and what a run
was begun with does not name them.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from jgaprune import distributed

_DETECT = "--distributed"
_VALUED = ("--coordinator", "--num-processes", "--process-id")


def launch_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--coordinator`, `--num-processes`, `--process-id` and `--distributed`."""
    command = click.option(
        _DETECT,
        is_flag=True,
        help="Run as one of the processes that Slurm, Kubernetes, a TPU pod or Open MPI has "
        "started; JAX asks them for the rest.",
    )(command)
    command = click.option(
        "--process-id",
        type=click.IntRange(min=0),
        metavar="I",
        help="Which one of the processes this is, from 0; that one writes and prints.",
    )(command)
    command = click.option(
        "--num-processes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes that run this same command, each with devices of its own.",
    )(command)
    return click.option(
        "--coordinator",
        metavar="HOST:PORT",
        help="Where process 0 is found, and a port that is free there. These three are also taken "
        "from JGAPRUNE_COORDINATOR, JGAPRUNE_NUM_PROCESSES and JGAPRUNE_PROCESS_ID.",
    )(command)


def connect(params: dict[str, Any]) -> None:
    """Takes these options out of a command's parameters, and does what they say.

    Comes before anything else is done with JAX.

    Raises:
      ValueError: only some of them are said, or no cluster is found.
    """
    names = ("coordinator", "num_processes", "process_id")
    given = {name: params.pop(name) for name in names}
    asked = any(value is not None for value in given.values())
    if params.pop("distributed") or asked or distributed.is_announced():
        _keep_stdout_for_results()
        distributed.initialize(**given)


def without_launch(arguments: Sequence[str]) -> list[str]:
    """A command line less these options.

    >>> without_launch(["--coordinator", "a:1", "--seed", "3", "--process-id=1", "--distributed"])
    ['--seed', '3']
    """
    kept, rest = [], iter(arguments)
    for argument in rest:
        if argument in _VALUED:
            next(rest, None)
        elif argument.partition("=")[0] not in (*_VALUED, _DETECT):
            kept.append(argument)
    return kept


def _keep_stdout_for_results() -> None:
    """Gloo says on stdout that it is connected, which is no JSON."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
