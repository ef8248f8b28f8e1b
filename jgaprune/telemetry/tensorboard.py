"""A log as event files for TensorBoard, through tensorboardX, which needs no TensorFlow.

Its `SummaryWriter` writes in a thread, and where that dies, of a full disk for example, the next
call waits for ever. So events are written here, one after another.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jgaprune.telemetry.log import Log
from jgaprune.telemetry.writer import Row, library


def tensorboard(folder: str | Path) -> Log:
    """A log that `tensorboard --logdir FOLDER` shows; needs the extra "tensorboard".

    A run that goes on is written once more from its beginning, into a new file that takes the
    place of the earlier ones, as TensorBoard reads them.

    Args:
      folder: of the run's own; is made where it is missing.

    Raises:
      ImportError: tensorboardX is not installed.
    """
    return Log(f"in {folder}", _TensorBoard(Path(folder)))


class _TensorBoard:
    def __init__(self, folder: Path):
        self._folder = folder
        self._files = library("tensorboardX.event_file_writer", "tensorboard")
        self._events = library("tensorboardX.proto.event_pb2", "tensorboard")
        self._summary = library("tensorboardX.summary", "tensorboard")
        self._file: Any = None

    def open(self, run: str | None) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        suffix = f".{time.time_ns()}"  # else a second file of the same second replaces the first
        self._file = self._files.EventsWriter(str(self._folder / "events"), suffix)
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(step=0, session_log=start)
        self._file.flush()
        return 0

    def add(self, rows: Sequence[Row]) -> None:
        for generation, values in rows:
            self._scalars(generation, values)
        self._file.flush()

    def end(
        self, settings: Mapping[str, object], measures: Mapping[str, float], generation: int
    ) -> None:
        self._scalars(generation, measures)
        text = f"```json\n{json.dumps(settings, indent=1)}\n```"
        self._write(step=generation, summary=self._summary.text("settings", text))
        self._file.flush()

    def close(self, *, over: bool) -> None:
        if self._file is not None:
            self._file.close()

    def _scalars(self, generation: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._write(step=generation, summary=self._summary.scalar(name, value))

    def _write(self, **event: Any) -> None:
        self._file.write_event(self._events.Event(wall_time=time.time(), **event))
