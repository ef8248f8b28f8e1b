"""A run's folder: its manifest, what was worked out before the search, checkpoints and history.

manifest.json   the call, the model and the versions
prepared/       inputs, scores and baselines
checkpoints/    the search, newest last
history.jsonl   a line per generation
lock            the process at work
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jgaprune.checkpoint import Steps, exclusive, explained, read_document, write_document
from jgaprune.driver import prepared as preparation
from jgaprune.driver import snapshot
from jgaprune.driver.checkpoints import Checkpoints
from jgaprune.driver.history_file import NAME, HistoryFile
from jgaprune.driver.manifest import changed_surroundings, differences, manifest_of
from jgaprune.driver.prepared import Prepared
from jgaprune.driver.progression import Progression
from jgaprune.masks import Layout
from jgaprune.model import Model
from jgaprune.report import History

MANIFEST = "manifest.json"
_LOCK = "lock"


class Keeper:
    """Keeps one run; made by `opened`."""

    def __init__(
        self, folder: Path, checkpoints: Checkpoints, warnings: list[str], run: str | None = None
    ):
        self._generations, self._seconds = checkpoints.interval()
        self._steps = Steps(folder / "checkpoints", keep=checkpoints.keep)
        self._prepared = Steps(folder / "prepared", keep=1)
        self._history = HistoryFile(folder)
        self._stage: dict[str, Any] = {}
        self._kept: int | None = None
        self._last = time.monotonic()
        self.further = checkpoints.further
        self.warnings, self.run = warnings, run

    def prepared(self, layout: Layout, sparsity: float) -> Prepared | None:
        """What an earlier process worked out."""
        for step in self._prepared.newest():
            if isinstance(step, OSError):
                self.warnings.append(f"{_sentence(step)}: inputs and scores were made again.")
                continue
            return preparation.unpack(step.arrays, step.document, layout, sparsity)
        return None

    def prepare(self, prepared: Prepared) -> None:
        """Keeps that for later processes."""
        try:
            self._prepared.save(0, *preparation.pack(prepared))
        except OSError as error:
            self._failed("What was worked out before the search", error)

    def found(self, layout: Layout) -> snapshot.Found | None:
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
            self._kept = step.number
            return snapshot.find(step.arrays, step.document, layout)
        for one in damaged:
            self.warnings.append(f"{_sentence(one)}: the search began again.")
        return None

    def begin(self, history: History) -> None:
        """What comes next follows this history, and no checkpoint that is not of it."""
        self._steps.forget_after(len(history.best) - 1)
        try:
            self._history.begin(history)
        except OSError as error:
            self._failed(NAME, error)

    def stage(self, told: Mapping[str, Any]) -> None:
        """What is to be known of the search at work, as JSON values."""
        self._stage = dict(told)

    def block(self, done: Progression) -> None:
        """Notes generations; keeps the run if it is time."""
        try:
            self._history.add(done)
        except OSError as error:
            self._failed(f"{NAME} up to generation {done.generation}", error)
        if self._is_due(done.generation):
            with contextlib.suppress(OSError):  # it is noted
                self._save(done)

    def stopped(self, done: Progression) -> None:
        """Keeps the run, and waits until it is on the disk.

        Raises:
          OSError: it can't be written.
        """
        if done.whole:
            if self._kept != done.generation:
                self._save(done)
            try:
                self._steps.wait()
            except OSError as error:
                self._failed(f"A checkpoint up to generation {done.generation}", error)
                raise

    def ended(self, done: Progression) -> None:
        """The same at the end of a search, which goes on without."""
        with contextlib.suppress(OSError):
            self.stopped(done)

    def generations_left(self, done: Progression) -> int:
        """To the next checkpoint, if it goes by generations."""
        if self._generations is None or self._kept is None:
            return 2**20
        return max(1, self._kept + self._generations - done.generation)

    def close(self) -> None:
        """Waits for what is being written."""
        self._prepared.close()
        self._steps.close()

    def _is_due(self, generation: int) -> bool:
        if self._kept is None:
            return True
        if self._generations is not None:
            return generation - self._kept >= self._generations
        assert self._seconds is not None
        return time.monotonic() - self._last >= self._seconds

    def _save(self, done: Progression) -> None:
        arrays, document = snapshot.pack(done)
        try:
            self._steps.save(done.generation, arrays, {**document, **self._stage})
        except OSError as error:
            self._failed(f"A checkpoint up to generation {done.generation}", error)
            raise
        finally:
            self._last = time.monotonic()
        self._kept = done.generation

    def _failed(self, what: str, error: OSError) -> None:
        if not any(warning.startswith(what[:12]) for warning in self.warnings):
            self.warnings.append(f"{what} could not be written ({error!s:.200}); the run went on.")


@contextlib.contextmanager
def opened(
    checkpoints: Checkpoints | None, model: Model, call: Mapping[str, Any]
) -> Iterator[Keeper | None]:
    """Opens the folder of a new run, or of the same call of before.

    Args:
      checkpoints: where and how often; None to keep nothing.
      model: the dense network.
      call: what decides the result.

    Raises:
      ValueError: another call or model is kept there, or a run that is not to be gone on with.
      OSError: the folder is in use, or can't be written.
    """
    if checkpoints is None:
        yield None
        return
    folder = Path(checkpoints.folder)
    with exclusive(folder):
        with explained(folder):
            run, warnings = _admit(folder, checkpoints, model, call)
            keeper = Keeper(folder, checkpoints, warnings, run)
        try:
            yield keeper
        finally:
            keeper.close()


def _admit(
    folder: Path, checkpoints: Checkpoints, model: Model, call: Mapping[str, Any]
) -> tuple[str | None, list[str]]:
    """Writes the manifest of a new run, or checks that of an old one; its name, and warnings."""
    now = manifest_of(model, call, checkpoints.command)
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
