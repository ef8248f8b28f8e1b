"""How commands end: one clear message instead of a traceback, and the exit code."""

import functools
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from jgaprune.distributed import LOST, has_lost_others, leave
from jgaprune.engine import ran_out_of_memory

BAD_INPUT = 2
INTERRUPTED = 130
LOST_OTHERS = 1
_NO_MEMORY = (
    "out of memory; jgaprune plan says what a search needs. Fewer inputs, a smaller population or "
    "--chunk, or a larger device help."
)


def explains_faults(command: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command: what is wrong with the user's input is said in one message, exit 2.

    Ctrl-C and SIGTERM end it with exit 130.
    """

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        # Orbax logs tracebacks of errors that are explained here in a sentence.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        try:
            with _terminate_as_interrupt():
                command(*args, **kwargs)
        except KeyboardInterrupt:
            click.echo("jgaprune: interrupted; nothing was written.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:
            if has_lost_others(error):
                click.echo(f"jgaprune: {LOST} ({str(error):.200})", err=True)
                leave(LOST_OTHERS)
            if (explained := _explained(error)) is None:
                raise
            click.echo(f"jgaprune: {explained}", err=True)
            raise click.exceptions.Exit(BAD_INPUT) from error

    return guarded


def _explained(error: Exception) -> str | None:
    """What is wrong with the user's input; None where that is not what is wrong."""
    if isinstance(error, ValueError | OSError):
        return str(error)
    return f"{_NO_MEMORY} ({str(error):.200})" if ran_out_of_memory(error) else None


def collect(*steps: Callable[[], Any]) -> list[Any]:
    """Runs independent checks and returns their results.

    Raises:
      ValueError: one or more of them failed; their messages, one a line.

    >>> collect(lambda: 1, lambda: 2)
    [1, 2]
    """
    results, faults = [], []
    for step in steps:
        try:
            results.append(step())
        except (ValueError, OSError) as error:
            faults.append(str(error))
    if faults:
        raise ValueError("\n".join(faults))
    return results


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM do what Ctrl-C does; only a main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
