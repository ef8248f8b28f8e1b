"""Ctrl-C and SIGTERM in a search: at once while there is nothing to lose, else between generations.

Where a run is kept on the disk, SIGTERM stops it to be gone on with, as machines that are taken
away send it; Ctrl-C ends it with what there is.

An exception that is raised wherever a signal arrives can be swallowed there, by a callback of
JAX's for example, and while XLA works it comes late. So a thread of its own hears of signals. As
long as nothing was found, and so nothing is on the disk, it ends the process; after that it asks
the search to stop, and lets what was found be saved.

Several processes hear of signals at different moments, or one of them alone does. They stop
together, at the next moment that is between generations, or between two phases, for all.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click
import jax
from rich.console import Console

from jgaprune.agreement import largest, together
from jgaprune.cli.faults import INTERRUPTED
from jgaprune.cli.progress import Show
from jgaprune.driver import Progress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Preempted(Exception):  # noqa: N818 - nothing is wrong
    """The run is to stop, and to be gone on with later."""


_ASKED: tuple[type[BaseException] | None, ...] = (None, Preempted, KeyboardInterrupt)


class Interrupts:
    """What signals ask for, and whether there is something to lose.

    Attributes:
      kept: how to go on with a run that is kept on the disk; None where it is not.
    """

    def __init__(self) -> None:
        self.found = False
        self.asked: type[BaseException] | None = None
        self.finishing = False
        self.kept: str | None = None
        self._alone = jax.process_count() == 1

    def between_generations(self, show: Show | None) -> Show:
        """A callback for the driver that shows progress and passes on what was asked.

        It raises KeyboardInterrupt where the driver expects it, once for every signal: in the
        search, between its stages, and while its result is finished; or Preempted.
        """

        def record(progress: Progress) -> None:
            self.found |= progress.phase == "search"
            self.finishing = progress.phase in ("finish", "end")
            together(lambda: show and show(progress))  # a fault here is one of all
            asked = self._asked_of_any()
            over = progress.report is not None  # then the result is not given up
            if asked and not over:
                raise asked

        return record

    def _asked_of_any(self) -> type[BaseException] | None:
        """The weightiest that any process was asked for, and no longer is."""
        asked, self.asked = self.asked, None
        return _ASKED[largest(_ASKED.index(asked))]

    def answer(self, number: int) -> None:
        """Does what a signal asks for."""
        if number == signal.SIGTERM and self.kept:
            if not self.found and self._alone:
                _end_process(f"stopped. {self.kept}", 0)
            self.asked = self.asked or Preempted
            return
        if not self.found and (self._alone or self.asked is KeyboardInterrupt):
            _end_process("interrupted; nothing was written.", INTERRUPTED)
        self.asked = KeyboardInterrupt
        _say(f"stopping; {self._what_follows()}.")

    def _what_follows(self) -> str:
        if not self.found:
            return "once all processes have ended what they do; a second time at once"
        if self.finishing:
            return "the result is being saved as it is"
        return "what was found is being saved"


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Hears signals while the block runs; only a main thread can."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    with ExitStack() as undo:
        heard, told = socket.socketpair()
        undo.callback(heard.close)
        listener = threading.Thread(target=_listen, args=(heard, interrupts.answer), daemon=True)
        listener.start()
        undo.callback(listener.join)
        undo.callback(told.close)
        told.setblocking(False)
        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told.fileno()))
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as a shell's background jobs have it
                undo.callback(signal.signal, number, signal.signal(number, _leave_to_listener))
        yield interrupts


def _leave_to_listener(*_: object) -> None:
    """Stands in for the default, which would raise."""


def _listen(heard: socket.socket, answer: Callable[[int], None]) -> None:
    """Until the other end is closed; every byte is the number of a signal."""
    while number := heard.recv(1):
        if number[0] in _SIGNALS:
            answer(number[0])


def _say(sentence: str) -> None:
    """On a line of its own, below a progress bar if there is one."""
    bar = "\n" if sys.stderr.isatty() else ""
    click.echo(f"{bar}jgaprune: {sentence}", err=True)


def _end_process(sentence: str, code: int) -> None:
    """Leaves without tidying up: XLA's threads are at work, and there is nothing to lose."""
    Console(stderr=True).show_cursor()
    _say(sentence)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
