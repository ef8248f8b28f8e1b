"""A folder that one process at a time works in, and small documents in it, whole or not there."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCK = "lock"


class FolderInUseError(OSError):
    """Another process works in the folder."""


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder while the block runs.

    The system gives the lock back when the process ends, however it ends. Where the file system
    has no locks, nobody is kept out.

    Args:
      folder: is made where it is missing.

    Raises:
      FolderInUseError: another process is in it.
      OSError: the folder can't be made or written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / _LOCK, "a+")  # noqa: SIM115 - closed below
    with lock as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    raise FolderInUseError(
                        f"another run (process {_holder(file)}) is at work in {folder}. Wait for "
                        "its end, or choose another folder."
                    ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Says of an OSError in the block which folder it is about, and what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"the run can't be kept in {folder} ({error.strerror or error}). Choose a folder that "
            "can be written, with room in it."
        ) from error


def _holder(file: Any) -> str:
    file.seek(0)
    return file.read(20).strip() or "unknown"


def write_document(path: Path, document: Any) -> None:
    """Writes JSON: the whole file, or what was there before."""
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def read_document(path: Path) -> Any:
    """Reads JSON; None where there is no file.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}). Restore it, or start in a new folder."
        ) from error
