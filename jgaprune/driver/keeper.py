"""Keeps a run in its folder: when that is due, and what it goes on from.

Of several processes the first reads and writes; it decides when, all take part in what travels, and
all go on from what it has read.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jgaprune.agreement import agreed, on_first, shared, together
from jgaprune.checkpoint import Step, exclusive, explained, joined, parted
from jgaprune.driver import prepared as preparation
from jgaprune.driver import snapshot
from jgaprune.driver.checkpoints import Checkpoints
from jgaprune.driver.manifest import manifest_of
from jgaprune.driver.prepared import Prepared
from jgaprune.driver.progression import Progression
from jgaprune.driver.run_folder import RunFolder, admit
from jgaprune.masks import Layout
from jgaprune.model import Model
from jgaprune.report import History


class Keeper:
    """Keeps one run; made by `opened`."""

    def __init__(self, folder: RunFolder | None, checkpoints: Checkpoints):
        self._generations, self._seconds = checkpoints.interval()
        self._folder = folder  # None on all processes but the first
        self._stage: Callable[[], dict[str, Any]] = dict
        self._kept: int | None = None
        self._last = time.monotonic()
        self.further = checkpoints.further

    @property
    def warnings(self) -> list[str]:
        """What is damaged, or could not be written."""
        return self._folder.warnings if self._folder else []

    @property
    def run(self) -> str | None:
        """The name of the run, where the folder is."""
        return self._folder.run if self._folder else None

    def prepared(self, layout: Layout, sparsity: float) -> Prepared | None:
        """What an earlier process worked out."""
        step = _everywhere(self._folder.prepared() if self._folder else None)
        if step is None:
            return None
        return preparation.unpack(step.arrays, step.document, layout, sparsity)

    def prepare(self, prepared: Prepared) -> None:
        """Keeps that for later processes."""
        if self._folder:
            self._folder.prepare(*preparation.pack(prepared))

    def found(self, layout: Layout) -> snapshot.Found | None:
        """The newest checkpoint that is whole."""
        step = _everywhere(self._folder.newest() if self._folder else None)
        if step is None:
            return None
        self._kept = step.number
        return snapshot.find(step.arrays, step.document, layout)

    def begin(self, history: History) -> None:
        """What comes next follows this history, and no checkpoint that is not of it."""
        if self._folder:
            self._folder.begin(history)

    def stage(self, told: Callable[[], dict[str, Any]]) -> None:
        """What says what is to be known of the search at work."""
        self._stage = told

    def block(self, done: Progression) -> None:
        """Notes generations; keeps the run if it is time."""
        if self._folder:
            self._folder.note(done)
        if agreed(self._is_due(done.generation)):
            with contextlib.suppress(OSError):  # it is noted
                self._save(done)

    def stopped(self, done: Progression) -> None:
        """Keeps the run, and waits until it is on the disk.

        Raises:
          OSError: it can't be written.
        """
        if not done.whole:
            return
        if agreed(self._kept != done.generation):
            together(partial(self._save, done))
        on_first(partial(self._wait, done.generation))

    def ended(self, done: Progression) -> None:
        """The same at the end of a search, which goes on without."""
        with contextlib.suppress(OSError):
            self.stopped(done)

    def generations_left(self, done: Progression) -> int:
        """To the next checkpoint, if it goes by generations."""
        if self._generations is None:
            return 2**20
        kept = 2**20 if self._kept is None else self._kept
        return int(agreed(max(1, kept + self._generations - done.generation)))

    def close(self) -> None:
        """Waits for what is being written."""
        if self._folder:
            self._folder.close()

    def _is_due(self, generation: int) -> bool:
        if self._kept is None:
            return True
        if self._generations is not None:
            return generation - self._kept >= self._generations
        assert self._seconds is not None
        return time.monotonic() - self._last >= self._seconds

    def _wait(self, generation: int) -> None:
        assert self._folder is not None  # on the first process
        self._folder.wait(generation)

    def _save(self, done: Progression) -> None:
        arrays, document = snapshot.pack(done)
        try:
            if self._folder:
                self._folder.save(done.generation, arrays, {**document, **self._stage()})
        finally:
            self._last = time.monotonic()
        self._kept = done.generation


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
    with contextlib.ExitStack() as leaving:
        keeper = Keeper(on_first(partial(_entered, leaving, checkpoints, model, call)), checkpoints)
        leaving.callback(keeper.close)
        yield keeper


def _entered(
    leaving: contextlib.ExitStack, checkpoints: Checkpoints, model: Model, call: Mapping[str, Any]
) -> RunFolder:
    folder = Path(checkpoints.folder)
    leaving.enter_context(exclusive(folder))
    with explained(folder):
        run, warnings = admit(folder, checkpoints, manifest_of(model, call, checkpoints.command))
        return RunFolder(folder, checkpoints.keep, run, warnings)


def _everywhere(step: Step | None) -> Step | None:
    """What process 0 has read, on all."""
    if jax.process_count() == 1:
        return step
    data, places = joined(step.arrays if step else {})
    told = step and {"number": step.number, "document": step.document, "places": places}
    told = json.loads(shared(json.dumps(told).encode()))
    if told is None:
        return None
    data = np.frombuffer(shared(data.tobytes()), np.uint8)
    return Step(told["number"], parted(data, told["places"]), told["document"])
