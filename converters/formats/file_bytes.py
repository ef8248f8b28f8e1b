"""The bytes of a weight file: read if it is small, else mapped into memory, where nothing is
copied until it is used.

A mapping shows the file as it is. To replace the file by another one changes nothing in it, but
who truncates the very file takes the pages away, and the system ends the process that looks at
them. Therefore `load` copies every weight, and nothing of a model stays mapped.
"""

import hashlib
import io
import mmap
import os
from typing import IO, cast

import numpy as np

from jgaprune.converters.formats.errors import FormatError

FileBytes = bytes | mmap.mmap
"""Slices of either are bytes."""

MAPPED_BYTES = 2**24
"""From this size on files are mapped."""
_BLOCK = 2**22


def bytes_of(path: str) -> FileBytes:
    """Open a regular file; a mapping lasts as long as an array that is a view of it.

    Raises:
      FormatError: if it isn't there or can't be read.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < MAPPED_BYTES:
                return file.read()
            try:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError:  # Some network file systems can't.
                return file.read()
    except OSError as error:
        raise FormatError(f"can't be read ({error.strerror}). Check its permissions") from error


def file_sha256(data: FileBytes) -> str:
    """Checksum of a file's bytes, in hexadecimal.

    >>> file_sha256(b"")[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    view = memoryview(data)
    for start in range(0, len(view), _BLOCK):
        digest.update(view[start : start + _BLOCK])
        forget(data, start, _BLOCK)
    return digest.hexdigest()


def stream_of(data: FileBytes) -> IO[bytes]:
    """The same bytes as a file that can be read and sought in."""
    return cast(IO[bytes], io.BytesIO(data) if isinstance(data, bytes) else _Reader(data))


def forget(data: FileBytes, start: int, num_bytes: int) -> None:
    """Give the memory of a range of a mapped file back; who looks again reads it again."""
    if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        first = start - start % mmap.PAGESIZE
        stop = min(start + num_bytes, len(data))
        if first < stop:
            data.madvise(mmap.MADV_DONTNEED, first, stop - first)


def forget_array(array: np.ndarray) -> None:
    """Give the memory of an array back if it is a view of a mapped file; it stays valid."""
    owner: object = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if isinstance(owner, mmap.mmap):
        low, high = np.lib.array_utils.byte_bounds(array)
        start = low - np.frombuffer(owner, np.uint8).ctypes.data
        forget(owner, start, high - low)


class _Reader(io.RawIOBase):
    """A mapped file as a stream with a position of its own."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._position = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._data)}
        if start[whence] + offset < 0:
            raise ValueError(f"there is no position {start[whence] + offset} in a file")
        self._position = start[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """At most what is there: the buffers of `io` would first allocate all that is asked for."""
        stop = len(self._data) if size is None or size < 0 else self._position + size
        chunk = self._data[self._position : stop]
        self._position += len(chunk)
        return chunk
