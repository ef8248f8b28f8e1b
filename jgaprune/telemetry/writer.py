"""`Writer`: what a service must be able to do for a `Log`."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Row(NamedTuple):
    """A generation.

    Attributes:
      generation: its number, from 0.
      values: finite ones by name: "search/best", "search/mean_fitness", "search/diversity",
        "search/evaluations"; "search/evaluations_per_second" unless it was done by an earlier
        process; "search/accuracy" where that was measured.
    """

    generation: int
    values: dict[str, float]


class Writer(Protocol):
    """One service, for one run at a time. What it raises ends the log, and not the run."""

    def open(self, run: str | None) -> int:
        """Before anything is written.

        Args:
          run: what the run is known by, the same when it goes on; None for one that can't.

        Returns:
          The first generation that the service does not hold.
        """

    def add(self, rows: Sequence[Row]) -> None:
        """Writes generations, each once and in order, so that they are seen at once."""

    def end(
        self, settings: Mapping[str, object], measures: Mapping[str, float], generation: int
    ) -> None:
        """Writes what a finished run is judged by.

        Args:
          settings: those of the report, JSON values.
          measures: of the result, by name: "final/fitness", "final/accuracy" and so on.
          generation: the last one.
        """

    def close(self, *, over: bool) -> None:
        """After anything else; `over` unless the run was stopped, or the log failed."""


def library(name: str, extra: str) -> Any:
    """A module that only an extra brings.

    Raises:
      ImportError: it is not there; says how it is installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"logging to {extra} needs {name.partition('.')[0]}, which can't be imported "
            f"({error}). Install it: pip install 'jgaprune[{extra}]'."
        ) from error
