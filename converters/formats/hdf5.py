"""HDF5 files, read by the HDF5 library in a process of its own.

The library is written in C, and damaged files can send it round in circles or down: so it runs in
`hdf5_worker`, with bounded memory and time, and only says where in the file the arrays lie. They
become views of the file's bytes here; compressed ones are copied out by the worker.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from jgaprune.converters.formats.errors import FormatError, largest_contents
from jgaprune.converters.formats.file_bytes import FileBytes

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_WORKER = os.path.join(os.path.dirname(__file__), "hdf5_worker.py")
_BASE_SECONDS = 3
_BYTES_PER_SECOND = 2**25
"""At the least what deflate unpacks; arrays in one piece cost next to nothing."""
_WALL_PER_CPU_SECOND = 15
_SAVE_AGAIN = "Copy or download it again, or save the weights again with Keras"


class Place(NamedTuple):
    """Where in the file an array lies in one piece, and its type there, byte order included."""

    offset: int
    dtype: np.dtype


class HDF5File(NamedTuple):
    """What is in an HDF5 file.

    Attributes:
      tensors: read-only arrays of native byte order by path, sorted as the library sorts them.
      places: where tensors lie in the file; not of compressed ones.
      attributes: of groups and datasets by path, "" for the file: those that Keras writes.
    """

    tensors: dict[str, np.ndarray]
    places: dict[str, Place]
    attributes: dict[str, dict[str, Any]]


def read_hdf5(data: FileBytes | memoryview) -> HDF5File:
    """Read all arrays of an HDF5 file; links, external and virtual data are refused.

    Args:
      data: the whole file.

    Raises:
      FormatError: if h5py isn't installed, the file is damaged, declares more than its size
        warrants, or holds anything but arrays of numbers.
    """
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as answer:
        file.write(data)
        file.seek(0)
        _run_worker(file, answer, largest_contents(len(data)))
        report, copied = _parse(answer)
    return _to_file(report, copied, data)


def _run_worker(file: BinaryIO, answer: BinaryIO, max_bytes: int) -> None:
    cpu_seconds = _BASE_SECONDS + os.fstat(file.fileno()).st_size // _BYTES_PER_SECOND
    request = json.dumps({"max_bytes": max_bytes, "cpu_seconds": cpu_seconds})
    # The worker finds h5py where this process would, however its path came about.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        ended = subprocess.run(
            [sys.executable, "-P", _WORKER, request],
            stdin=file,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_WALL_PER_CPU_SECOND * cpu_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FormatError(f"keeps the HDF5 library busy without end. {_SAVE_AGAIN}") from None
    except OSError as error:
        raise FormatError(
            f"needs a Python process of its own to be read, which can't be started "
            f"({error.strerror}). Save the arrays as .npz where it was made: "
            "numpy.savez('weights.npz', **{w.path: w.numpy() for w in model.weights})"
        ) from error
    if ended.returncode:
        raise FormatError(
            f"makes the HDF5 library fail (exit status {ended.returncode}). The file is damaged "
            f"or was made to do harm. {_SAVE_AGAIN}"
        )


def _parse(answer: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """The worker's report and the bytes after it."""
    answer.seek(0)
    report = json.loads(answer.readline())
    if "lacks" in report:
        raise FormatError(
            "is an HDF5 file, and h5py isn't installed or can't be imported "
            f"({report['lacks']}). Install it: pip install 'jgaprune[keras]', or pip install h5py"
        )
    if "fault" in report:
        raise FormatError(report["fault"])
    if "damaged" in report:
        raise FormatError(f"is a damaged HDF5 file ({report['damaged']}). {_SAVE_AGAIN}")
    return report, answer.read()


def _to_file(report: dict[str, Any], copied: bytes, data: FileBytes | memoryview) -> HDF5File:
    arrays: dict[str, np.ndarray] = {}
    places: dict[str, Place] = {}
    position = 0
    for tensor in report["tensors"]:
        shape, name = tensor["shape"], tensor["name"]
        is_bfloat16 = tensor["dtype"] == "bfloat16"
        dtype = np.dtype(ml_dtypes.bfloat16 if is_bfloat16 else tensor["dtype"])
        if tensor["offset"] is None:
            array = _view(copied, position, dtype, shape)
            position += array.nbytes
        else:
            array = _view(data, tensor["offset"], dtype, shape)
            places[name] = Place(tensor["offset"], dtype)
        arrays[name] = array.astype(dtype.newbyteorder("="), copy=False)
    return HDF5File(arrays, places, report["attributes"])


def _view(
    data: FileBytes | memoryview, offset: int, dtype: np.dtype, shape: list[int]
) -> np.ndarray:
    count = math.prod(shape)
    if not count:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype, count, offset).reshape(shape)
