"""The folder of a run: everything a report writes, all of it or nothing.

The folder is built beside its place under a temporary name and renamed at the end, so that a
full disk, a crash or Ctrl-C never leaves half a result, nor costs an older one.
"""

import errno
import itertools
import json
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jgaprune.report.document import to_document
from jgaprune.report.text import render

if TYPE_CHECKING:
    from jgaprune.report.report import Report

_DISK_FAULTS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


class SaveError(OSError):
    """A result can't be written; the message says where, why and what to do."""


class Saved(NamedTuple):
    """What was written.

    Attributes:
      place: absolute path of the folder.
      report: as written: its warnings name what could not be.
      aside: where the folder is that was there before; None if there was none, or a run's.
    """

    place: Path
    report: "Report"
    aside: Path | None


def save_folder(report: "Report", out: str | Path, *, overwrite: bool) -> Saved:
    """Writes a run's folder. Arguments and errors are those of `Report.save`."""
    place = check_out(out, overwrite=overwrite)
    written = [report]

    def fill(folder: Path) -> None:
        written.append(_write_run(report, folder))

    aside = write_folder(place, fill)
    return Saved(place, written[-1], aside)


def check_out(out: str | Path, *, overwrite: bool = False, num_bytes: int = 0) -> Path:
    """Checks that a folder can be made at `out`; changes nothing.

    Args:
      out: the folder to be made.
      overwrite: whether a folder that is there may be replaced.
      num_bytes: about how much will be written into it.

    Returns:
      The absolute path.

    Raises:
      SaveError: something is there, or nothing can be written there.
    """
    place = Path(os.path.realpath(out))
    if place.exists() and not place.is_dir():
        raise SaveError(f"{place} is a file; a folder is to be made there. Choose another place.")
    if place.exists() and not overwrite:
        raise SaveError(
            f"the output folder {place} exists. Choose another one, or allow to replace it "
            "(--overwrite, in Python overwrite=True)."
        )
    ground = next(folder for folder in place.parents if folder.exists())
    if not ground.is_dir():
        raise SaveError(f"{ground} is a file, so {place} can't be made. Choose another place.")
    if not os.access(ground, os.W_OK | os.X_OK):
        raise SaveError(f"no permission to write into {ground}. Choose another place.")
    free = shutil.disk_usage(ground).free
    if free < num_bytes:
        raise SaveError(
            f"{ground} has {free / 1e6:,.0f} MB free, about {num_bytes / 1e6:,.0f} MB are needed. "
            "Free some space or choose another place."
        )
    return place


def write_folder(place: Path, fill: Callable[[Path], None]) -> Path | None:
    """Makes the folder `place` with what `fill` writes, or leaves everything as it was.

    What was there is replaced at the very end: a run's folder is deleted, any other folder is
    renamed to the same name with `.old`.

    Args:
      place: absolute path of the folder.
      fill: writes the content into the folder it is given.

    Returns:
      The path of the folder that was renamed, if one was.

    Raises:
      SaveError: if writing fails.
    """
    draft = _beside(place)
    made = [folder for folder in place.parents if not folder.exists()]
    try:
        draft.mkdir(parents=True)
        fill(draft)
        return _put_in_place(draft, place)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        if reason := _disk_fault(error):
            raise SaveError(
                f"could not write {place}: {reason}. Nothing was written. Free some space or "
                "choose another place."
            ) from error
        raise


def write_json(path: Path, document: Any) -> None:
    """Writes JSON for people and programs alike: indented, UTF-8, no NaN."""
    path.write_text(
        json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def _write_run(report: "Report", folder: Path) -> "Report":
    """Everything that a run leaves behind; returns the report as written."""
    # Matplotlib and the converters are needed only here, and importing them takes seconds.
    from jgaprune.report.plots import draw_plots
    from jgaprune.report.weights import write_weights

    report = replace(report, warnings=(*report.warnings, *write_weights(report, folder)))
    write_json(folder / "report.json", to_document(report))
    (folder / "report.txt").write_text(render(report), encoding="utf-8")
    (folder / "plots").mkdir()
    draw_plots(report, folder / "plots")
    return report


def _put_in_place(draft: Path, place: Path) -> Path | None:
    """Renames the finished folder, and deletes what was there or returns where it is now."""
    if not place.exists():
        draft.rename(place)
        return None
    keeps = not _is_ours(place)
    aside = _unused(place.with_name(place.name + ".old")) if keeps else _beside(place)
    place.rename(aside)
    try:
        draft.rename(place)
    except OSError:
        aside.rename(place)
        raise
    if keeps:
        return aside
    shutil.rmtree(aside, ignore_errors=True)
    return None


def _is_ours(folder: Path) -> bool:
    """Whether a folder is empty or one that jgaprune made, so that replacing it loses nothing."""
    if not any(folder.iterdir()):
        return True
    for name in ("report.json", "model.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            document = json.loads((folder / name).read_text(encoding="utf-8"))
            return "jgaprune" in document["versions"]
    return False


def _beside(place: Path) -> Path:
    return place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")


def _unused(path: Path) -> Path:
    """The path, or the first with a number appended at which nothing is."""
    candidates = (path.with_name(f"{path.name}{i or ''}") for i in itertools.count())
    return next(candidate for candidate in candidates if not candidate.exists())


def _disk_fault(error: BaseException) -> str | None:
    """What the operating system said, if it is behind the error.

    Writers of weights wrap it in an error of their own, Orbax tells it only in its text.
    """
    for fault in (error, error.__cause__):
        if isinstance(fault, OSError):
            return fault.strerror or str(fault)
    reasons = map(os.strerror, _DISK_FAULTS)
    return next((reason for reason in reasons if reason in str(error)), None)
