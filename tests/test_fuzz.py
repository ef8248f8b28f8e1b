"""Every format against mutated files: read or refused, quickly, in little memory, without a trace.

The slow form reads 1,000 files of each format, or as many as JGAPRUNE_FUZZ_FILES says; the seed of
each is its number. An audit hook sees every file that is opened and every command or import, so
that nothing happens unseen.
"""

import faulthandler
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zipfile
from contextlib import contextmanager

import pytest
from fuzz import mutated
from hdf5_forks import Forks
from whole_files import KINDS, ONE, WITH_H5PY, whole_files

from jgaprune.converters import ConversionError, load
from jgaprune.converters.formats import FormatError, SourceFile, file_bytes, hdf5, read

MANY = int(os.environ.get("JGAPRUNE_FUZZ_FILES", "1000"))
SECONDS = 5
"""Of processor time: the machine may have other things to do."""
SLACK_BYTES = 2**22
"""Beyond twice the declared size: for parsing, whatever the size."""
_FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle."),
    *("socket.", "os.remove", "os.rename", "os.mkdir", "shutil.", "ctypes.dlopen"),
)


class Watch:
    """What audit events say while it is on; hooks can't be removed, so there is one."""

    folder: str | None = None
    seen: list[str] = []


def _audit(event: str, arguments: tuple) -> None:
    if Watch.folder is None:
        return
    if event.startswith(_FORBIDDEN):
        Watch.seen.append(f"{event} {arguments!r:.200}")
    if event == "open" and isinstance(arguments[0], str):
        path, _, flags = arguments
        outside = not os.path.realpath(path).startswith(Watch.folder)
        if path == tempfile.gettempdir():
            return  # a file without a name
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or outside and not _is_code(path):
            Watch.seen.append(f"open {path!r:.200} {flags}")


def _is_code(path: str) -> bool:
    """Python reads these for imports and tracebacks of its own."""
    return path.endswith((".py", ".pyc", ".so")) or path.startswith(sys.prefix)


sys.addaudithook(_audit)


@contextmanager
def watched(folder):
    Watch.folder, Watch.seen = os.path.realpath(folder), []
    try:
        yield Watch.seen
    finally:
        Watch.folder = None


class TooSlowError(BaseException):
    """No Exception, or `read` would take it for the file's fault."""


def _too_slow(_signal, _frame):
    raise TooSlowError


def write(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    for name, raw in files.items():
        path = folder / (name or "weights")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return folder / "weights" if ONE in files else folder


def declared_bytes(files):
    """What the files hold, and what their zip directories say that they hold."""
    total = 0
    for raw in files.values():
        total += len(raw)
        try:
            total += sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(raw)).infolist())
        except Exception:
            total += 0
    return total


def attempt(path):
    """Bytes of the arrays, or None where the file is refused."""
    try:
        source = read(path)
    except FormatError as error:
        assert len(str(error)) < 10_000
        return None
    assert isinstance(source, SourceFile)
    return sum(len(array.tobytes()) for array in source.tensors.values())


def fuzz(kind, folder, numbers):
    """Reads files; returns how many were refused, and the longest time and highest memory."""
    (folder / "seeds").mkdir()
    whole = whole_files(kind, folder / "seeds")
    for files in whole:
        assert attempt(write(folder / "f", files))
    refused, slowest, highest = 0, 0.0, 0
    for number in numbers:
        files = mutated(kind, whole, number)
        path = write(folder / "f", files)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        faulthandler.dump_traceback_later(20 * SECONDS, exit=True, file=sys.__stderr__)
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.process_time()
        try:
            with watched(folder) as seen:
                num_bytes = attempt(path)
        except BaseException as error:
            raise AssertionError(f"{kind}: file {number} gives {error!r:.300}") from error
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - start)
        peak = tracemalloc.get_traced_memory()[1] - before
        # `attempt` copies each array once more to look at it.
        allowed = 2 * declared_bytes(files) + 2 * (num_bytes or 0) + SLACK_BYTES
        assert peak <= allowed, f"{kind}: file {number} takes {peak:,} bytes, not {allowed:,}"
        assert not seen, f"{kind}: file {number} does {seen}"
        highest = max(highest, peak)
        refused += num_bytes is None
    return refused, slowest, highest


@pytest.fixture
def guarded(monkeypatch):
    """A file that hangs ends the test; one that hangs outside of Python ends the process."""
    before = signal.signal(signal.SIGPROF, _too_slow)
    tracemalloc.start()
    yield monkeypatch
    tracemalloc.stop()
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def forks(kind, monkeypatch):
    """Workers of the HDF5 library, for the formats that need them."""
    if kind not in WITH_H5PY:
        yield None
        return
    pytest.importorskip("h5py", reason="files of Keras are read with h5py")
    if not os.path.exists("/proc/self/fd"):
        pytest.skip("forks take files over through /proc")
    server = Forks(hdf5._WORKER)
    monkeypatch.setattr(subprocess, "run", server.run)
    yield server
    server.close()


@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(tmp_path, guarded, forks, kind, mapped):
    if mapped:
        guarded.setattr(file_bytes, "MAPPED_BYTES", 1)
    refused, _, _ = fuzz(kind, tmp_path, range(mapped, 60, 2))
    assert refused > 5


@pytest.mark.slow
@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutated_files(tmp_path, guarded, forks, kind, mapped, capsys):
    if mapped:
        guarded.setattr(file_bytes, "MAPPED_BYTES", 1)
    numbers, start = range(mapped, MANY, 2), time.perf_counter()
    refused, slowest, highest = fuzz(kind, tmp_path, numbers)
    with capsys.disabled():
        print(
            f"\n{kind}, numbers {numbers}: {refused} refused, {time.perf_counter() - start:.0f} s, "
            f"slowest {slowest:.2f} s, at most {highest / 2**20:.1f} MiB"
            + (f", {forks.failures} workers failed" if forks else "")
        )
    assert refused > len(numbers) / 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITH_H5PY)
def test_mutated_descriptions_of_networks_are_understood_or_refused(tmp_path, forks, kind):
    (tmp_path / "seeds").mkdir()
    whole, understood = whole_files(kind, tmp_path / "seeds"), 0
    for number in range(60):
        path = write(tmp_path / "f", mutated(kind, whole, number))
        try:
            understood += load("auto", path).layout.num_weights > 0
        except (ConversionError, FormatError) as error:
            assert len(str(error)) < 10_000
    assert 5 < understood < 55
