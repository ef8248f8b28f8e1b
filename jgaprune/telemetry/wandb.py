"""A log at Weights & Biases."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jgaprune.telemetry.log import Log
from jgaprune.telemetry.writer import Row, library


def wandb(project: str, *, mode: str | None = None, folder: str | Path | None = None) -> Log:
    """A log in a project; needs the extra "wandb".

    A run that is kept on the disk is the same run there when it goes on, and the service tells
    how far it has come. Offline nothing tells, so each process leaves the run from its beginning,
    under the same name, for `wandb sync`.

    Args:
      project: its name, or `ENTITY/PROJECT`.
      mode: "online", "offline" or "disabled"; by default what the variable `WANDB_MODE` says.
      folder: where the client keeps its files; by default what `WANDB_DIR` says, or `wandb`.

    Raises:
      ImportError: wandb is not installed.
    """
    return Log(f"{project} at Weights & Biases", _Wandb(project, mode, folder))


class _Wandb:
    def __init__(self, project: str, mode: str | None, folder: str | Path | None):
        self._client = library("wandb", "wandb")
        entity, _, name = project.rpartition("/")
        self._place = {"entity": entity or None, "project": name, "mode": mode, "dir": folder}
        self._run: Any = None

    def open(self, run: str | None) -> int:
        self._run = None
        self._run = self._client.init(
            **self._place,
            id=run,
            resume="allow" if run else None,
            reinit="create_new",  # a run of the caller's own is left alone
            settings=self._client.Settings(console="off"),
        )
        return self._run.step

    def add(self, rows: Sequence[Row]) -> None:
        for generation, values in rows:
            self._run.log(values, step=generation, commit=True)

    def end(
        self, settings: Mapping[str, object], measures: Mapping[str, float], generation: int
    ) -> None:
        self._run.config.update(settings, allow_val_change=True)
        self._run.summary.update(measures)

    def close(self, *, over: bool) -> None:
        if self._run is not None:
            self._run.finish(exit_code=0 if over else 1)
