"""`history.jsonl`: one line per generation, appended while the run goes on."""

import json
import os
from pathlib import Path

from jgaprune.driver.progression import Progression
from jgaprune.report import History
from jgaprune.report.document import plain

NAME = "history.jsonl"


class HistoryFile:
    """The file of a run; lines that a checkpoint does not know are dropped when it goes on."""

    def __init__(self, folder: Path):
        self._path = folder / NAME
        self._written: int | None = None

    def begin(self, history: History) -> None:
        """Leaves the lines of a history, which may be none, and no others."""
        count = len(history.best)
        lines = self._lines()[:count]
        lines += [_line(history, index, None) for index in range(len(lines), count)]
        draft = self._path.with_name(f".{NAME}.draft")
        draft.write_text("".join(lines), encoding="utf-8")
        draft.replace(self._path)
        self._written = count

    def add(self, done: Progression) -> None:
        """Appends the generations since the last call.

        Raises:
          OSError: they can't be written; the next call tries again.
        """
        history = done.history
        if self._written is None:  # it could not be begun
            self.begin(history)
            return
        first, count = self._written, len(history.best)
        lines = [_line(history, index, done.seconds) for index in range(first, count)]
        whole = self._path.stat().st_size
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError:
            os.truncate(self._path, whole)
            raise
        self._written = count

    def _lines(self) -> list[str]:
        """Whole ones, in order; what follows a broken one is no use."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        whole = []
        for index, line in enumerate(lines):
            if not line.endswith("\n") or _generation(line) != index:
                break
            whole.append(line)
        return whole


def _line(history: History, index: int, seconds: float | None) -> str:
    told = {
        "generation": index,
        "evaluations": history.evaluations[index],
        "best": history.best[index],
        "mean_fitness": history.mean_fitness[index],
        "diversity": history.diversity[index],
        "seconds": seconds,
    }
    return json.dumps(plain(told)) + "\n"


def _generation(line: str) -> object:
    try:
        return json.loads(line)["generation"]
    except (ValueError, KeyError, TypeError):
        return None
