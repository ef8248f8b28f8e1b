"""Progress on stderr: phase, best fitness, rate. A bar on a terminal, lines in a log."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from jgaprune.driver import Progress
from jgaprune.report.document import plain

Show = Callable[[Progress], None]
"""What the driver calls with every step."""

_PHASES = {
    "inputs": "making inputs",
    "baselines": "measuring one-shot baselines",
    "training": "training masks",
    "compile": "compiling",
    "search": "searching",
    "finish": "finishing the result",
    "end": "done",
}
_LARGE = ("history", "report")
_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def shown_progress(*, quiet: bool, as_json: bool = False) -> Iterator[Show | None]:
    """Shows progress while the block runs; yields the driver's `on_record`, None if quiet."""
    console = Console(stderr=True)
    if as_json:
        yield _show_as_json
    elif quiet:
        yield None
    elif console.is_terminal:
        with _bar(console) as bar:
            yield _show_in(bar)
    else:
        yield _show_as_lines()


def figures(progress: Progress) -> str:
    """What is being done, best fitness, evaluations and their rate, as far as they are known."""
    parts = [progress.detail] if progress.detail else []
    if progress.best is not None:
        parts.append(f"best fitness {progress.best:#.4g}")
    if progress.evaluations:
        parts.append(f"{progress.evaluations:,} evaluations")
    if progress.evaluations_per_second:
        parts.append(f"{progress.evaluations_per_second:,.1f}/s")
    return "  ".join(parts)


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        console=console,
    )


def _show_as_json(progress: Progress) -> None:
    told = {name: value for name, value in vars(progress).items() if name not in _LARGE}
    click.echo(json.dumps(plain(told)), err=True)


def _show_in(bar: Bar) -> Show:
    task = bar.add_task("starting", total=None, figures="")

    def show(progress: Progress) -> None:
        bar.update(
            task,
            description=_PHASES.get(progress.phase, progress.phase),
            total=progress.generations,
            completed=progress.generation or 0,
            figures=figures(progress),
        )

    return show


def _show_as_lines() -> Show:
    """A line for every phase, and one now and then within it."""
    phase, last = "", 0.0

    def show(progress: Progress) -> None:
        nonlocal phase, last
        now = time.monotonic()
        if progress.phase != phase or now - last > _SECONDS_BETWEEN_LINES:
            phase, last = progress.phase, now
            what = _PHASES.get(phase, phase)
            click.echo(f"jgaprune: {what}  {figures(progress)}".rstrip(), err=True)

    return show
