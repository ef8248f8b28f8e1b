"""`Log`: a listener that writes a run down at a service, and never ends it."""

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import jax

from jgaprune.driver import Progress
from jgaprune.report.document import plain
from jgaprune.telemetry.rows import measures_of, rows_of
from jgaprune.telemetry.writer import Writer


@dataclass
class Log:
    """Follows a run; give it to `prune` as `on_record`, where it is opened and closed.

    Every generation is logged once. A run that goes on is logged on where it was, as far as the
    service lets it. Once the service fails, the run goes on without its log, with a warning; what
    is missing comes when the run is gone on with. Of several processes, the first one logs.

    Attributes:
      name: for the warning.
      writer: of the service.
      warn: told in a sentence that the service has failed.
    """

    name: str
    writer: Writer
    warn: Callable[[str], None] = warnings.warn
    _next: int | None = field(default=None, init=False, repr=False)
    _failed: bool = field(default=False, init=False, repr=False)

    def __enter__(self) -> "Log":
        self._next, self._failed = None, False
        return self

    def __call__(self, progress: Progress) -> None:
        """Writes what is new."""
        if self._failed or jax.process_index():
            return
        try:
            self._follow(progress)
        except Exception as error:
            self._give_up(error)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._failed:
            with contextlib.suppress(Exception):  # its failure is told
                self.writer.close(over=False)
        elif self._next is not None:
            try:
                self.writer.close(over=kind is None)
            except Exception as fault:
                self._give_up(fault)

    def _follow(self, progress: Progress) -> None:
        if self._next is None:
            self._next = self.writer.open(progress.run)
        if rows := rows_of(progress, self._next):
            self.writer.add(rows)
            self._next = rows[-1].generation + 1
        if (report := progress.report) is not None:
            self.writer.end(plain(report.settings), measures_of(report), report.generations)

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        said = str(error) or repr(error)
        self.warn(f"The log {self.name} can't be written ({said:.300}): the run goes on without.")
