"""Numbered checkpoints of named arrays and a JSON document, written in the background by Orbax.

A step appears when it is complete and not before. Its arrays are checked by their digest when it
is read: a damaged newest step is passed over for the one before.

To Orbax they are one array of bytes, and the document says where in it each of them lies. A state
of many small arrays is written faster that way, and Orbax, which reads several at once, leaves
readers behind if one of them fails. Of several processes one works in it, alone.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from jgaprune.checkpoint.alone import alone
from jgaprune.checkpoint.bundle import Arrays, joined, parted

_ARRAYS, _DOCUMENT = "arrays", "document"
_BYTES, _DIGEST, _PLACES = "bytes", "sha256", "places"


class Step(NamedTuple):
    """A checkpoint.

    Attributes:
      number: of the step.
      arrays: by name.
      document: JSON values.
    """

    number: int
    arrays: dict[str, np.ndarray]
    document: dict[str, Any]


class Steps:
    """The checkpoints in a folder, the newest of which are kept."""

    def __init__(self, folder: Path, *, keep: int = 2):
        self._folder, self._keep = folder, keep
        self._manager = self._open()

    def save(self, number: int, arrays: Arrays, document: Mapping[str, Any]) -> None:
        """Copies everything and begins to write; waits for the step before.

        Raises:
          OSError: what was begun before, or this, can't be written. Older steps are still there,
            and later ones may be saved.
        """
        data, places = joined(arrays)
        told = {**document, _PLACES: places, _DIGEST: _digest(data)}
        items = {
            _ARRAYS: ocp.args.StandardSave({_BYTES: data}),  # type: ignore[call-arg]
            _DOCUMENT: ocp.args.JsonSave(told),  # type: ignore[call-arg]
        }
        with self._explained():
            self._manager.wait_until_finished()
            if number in self._manager.all_steps():
                self._manager.delete(number)
            self._manager.save(number, args=ocp.args.Composite(**items), force=True)

    def wait(self) -> None:
        """Until everything is written.

        Raises:
          OSError: it can't be.
        """
        with self._explained():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def newest(self) -> Iterator[Step | OSError]:
        """Steps, the newest first; an error in the place of each that is damaged."""
        for number in sorted(self._manager.all_steps(), reverse=True):
            try:
                yield self._read(number)
            except Exception as error:  # of many classes, whatever the damage
                yield OSError(f"checkpoint {number} is damaged ({str(error) or repr(error):.200})")

    def forget_after(self, number: int) -> None:
        """Deletes later ones: damaged, or of a search that has begun again.

        Raises:
          OSError: they can't be deleted.
        """
        with self._explained():
            for later in [step for step in self._manager.all_steps() if step > number]:
                self._manager.delete(later)

    def close(self) -> None:
        """Waits, and gives up what can't be written."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # told when it was waited for, or of no more use
            logging.getLogger(__name__).debug("not written: %s", error)
        self._manager.close()

    def _open(self) -> ocp.CheckpointManager:
        self._folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._keep,
            cleanup_tmp_directories=True,
            save_root_metadata=False,
            create=False,
            multiprocessing_options=alone(self._folder.name),
        )
        return ocp.CheckpointManager(
            self._folder.absolute(), options=options, item_names=(_ARRAYS, _DOCUMENT)
        )

    def _read(self, number: int) -> Step:
        items = {
            _ARRAYS: ocp.args.StandardRestore(),  # type: ignore[call-arg]
            _DOCUMENT: ocp.args.JsonRestore(),  # type: ignore[call-arg]
        }
        found = self._manager.restore(number, args=ocp.args.Composite(**items))
        document, data = dict(found[_DOCUMENT]), np.asarray(found[_ARRAYS][_BYTES])
        if _digest(data) != document.pop(_DIGEST):
            raise ValueError("its arrays are not those that were saved")
        return Step(number, parted(data, document.pop(_PLACES)), document)

    def _explained(self) -> "_Explained":
        return _Explained(self)

    def reopen(self) -> None:
        """After a fault: a manager that has failed once keeps failing."""
        self.close()
        self._manager = self._open()


class _Explained:
    """Turns whatever Orbax raises into an OSError, and lets later steps be saved."""

    def __init__(self, steps: Steps):
        self._steps = steps

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            self._steps.reopen()
            raise OSError(str(error) or repr(error)) from error


def _digest(data: np.ndarray) -> str:
    return hashlib.sha256(data.data).hexdigest()
