"""A run's folder: its manifest, what was worked out before the search, checkpoints and history.

manifest.json   the call, the model and the versions
prepared/       inputs, scores and baselines
checkpoints/    the search, newest last
history.jsonl   a line per generation
lock            the process at work

Of several processes the first has it, and the others never look at it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jgaprune.checkpoint import Step, Steps, read_document, write_document
from jgaprune.driver.checkpoints import Checkpoints
from jgaprune.driver.history_file import NAME, HistoryFile
from jgaprune.driver.manifest import changed_surroundings, differences
from jgaprune.driver.progression import Progression
from jgaprune.report import History

MANIFEST = "manifest.json"
_LOCK = "lock"


class RunFolder:
    """What is kept of one run.

    Attributes:
      run: its name.
      warnings: what is damaged, or could not be written.
    """

    def __init__(self, folder: Path, keep: int, run: str | None, warnings: list[str]):
        self._steps = Steps(folder / "checkpoints", keep=keep)
        self._prepared = Steps(folder / "prepared", keep=1)
        self._history = HistoryFile(folder)
        self.run, self.warnings = run, warnings

    def prepared(self) -> Step | None:
        """What an earlier process worked out before the search."""
        for step in self._prepared.newest():
            if not isinstance(step, OSError):
                return step
            self.warnings.append(f"{_sentence(step)}: inputs and scores were made again.")
        return None

    def prepare(self, arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]) -> None:
        """Keeps that for later processes."""
        try:
            self._prepared.save(0, arrays, document)
        except OSError as error:
            self._failed("What was worked out before the search", error)

    def newest(self) -> Step | None:
        """The newest checkpoint that is whole; damaged ones are given up."""
        damaged = []
        for step in self._steps.newest():
            if isinstance(step, OSError):
                damaged.append(step)
                continue
            for one in damaged:
                self.warnings.append(
                    f"{_sentence(one)}: the run went on from generation {step.number}."
                )
            return step
        for one in damaged:
            self.warnings.append(f"{_sentence(one)}: the search began again.")
        return None

    def begin(self, history: History) -> None:
        """What comes next follows this history, and no checkpoint that is not of it."""
        try:
            self._steps.forget_after(len(history.best) - 1)
            self._history.begin(history)
        except OSError as error:
            self._failed(NAME, error)

    def note(self, done: Progression) -> None:
        """Adds generations to the history."""
        try:
            self._history.add(done)
        except OSError as error:
            self._failed(f"{NAME} up to generation {done.generation}", error)

    def save(
        self, generation: int, arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]
    ) -> None:
        """Begins to write a checkpoint.

        Raises:
          OSError: it can't be written.
        """
        try:
            self._steps.save(generation, arrays, document)
        except OSError as error:
            self._failed(f"A checkpoint up to generation {generation}", error)
            raise

    def wait(self, generation: int) -> None:
        """Until the checkpoint of a generation is on the disk.

        Raises:
          OSError: it can't be written.
        """
        try:
            self._steps.wait()
        except OSError as error:
            self._failed(f"A checkpoint up to generation {generation}", error)
            raise

    def close(self) -> None:
        """Waits for what is being written."""
        self._prepared.close()
        self._steps.close()

    def _failed(self, what: str, error: OSError) -> None:
        if not any(warning.startswith(what[:12]) for warning in self.warnings):
            self.warnings.append(f"{what} could not be written ({error!s:.200}); the run went on.")


def admit(
    folder: Path, checkpoints: Checkpoints, now: Mapping[str, Any]
) -> tuple[str | None, list[str]]:
    """Writes the manifest of a new run, or checks that of an old one; its name, and warnings.

    Raises:
      ValueError: another call or model is kept there, or a run that is not to be gone on with.
    """
    saved = read_document(folder / MANIFEST)
    if saved is None:
        others = sorted(path.name for path in folder.iterdir() if path.name != _LOCK)
        if others:
            raise ValueError(
                f"{folder} holds {', '.join(others[:3])}, and no run: choose another folder for "
                "checkpoints."
            )
        write_document(folder / MANIFEST, now)
        return now["run"], []
    if not checkpoints.resume:
        raise ValueError(
            f"{folder} holds a run already. Go on with it (jgaprune resume, in Python "
            "Checkpoints(..., resume=True)), or choose another folder."
        )
    if found := differences(saved, now):
        raise ValueError(
            f"the run in {folder} was begun in another way: {'; '.join(found)}. Go on with what it "
            "was begun with, or start in another folder."
        )
    warnings = []
    if changed := changed_surroundings(saved, now):
        warnings = [
            f"The run was begun on other ground, which rounds differently: {'; '.join(changed)}."
        ]
    return saved.get("run"), warnings


def _sentence(error: OSError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
