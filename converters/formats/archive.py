"""Zip containers, read where they lie and never unpacked to disk: shared by `.pth` and `.npz`.

An entry's name is only ever compared, so paths that point outside mean nothing.
"""

import struct
import zipfile
from typing import NamedTuple

from jgaprune.converters.formats.errors import FormatError, check_unpacked_size
from jgaprune.converters.formats.file_bytes import FileBytes, forget, stream_of

_LOCAL_HEADER = 30
_NAME_LENGTHS = 26
"""Where a local header tells how long the name and the extra field behind it are."""
_BLOCK = 2**20


class Archive(NamedTuple):
    """A zip file whose directory was checked."""

    directory: zipfile.ZipFile
    data: FileBytes

    def names(self) -> list[str]:
        """Names of the entries, in the directory's order."""
        return self.directory.namelist()


def open_archive(data: FileBytes) -> Archive:
    """Open a zip file and check what its directory declares.

    Raises:
      FormatError: for a damaged directory, two entries of one name, encryption, compression
        other than deflate, and contents too large for the file (a zip bomb).
    """
    try:
        archive = zipfile.ZipFile(stream_of(data))
    except zipfile.BadZipFile as error:
        raise FormatError(
            f"is a damaged or truncated zip file ({str(error):.120}). Copy or download it again"
        ) from error
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) != len(entries):
        raise FormatError("has two zip entries of one name. Save the weights again")
    for entry in entries:
        known = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if entry.flag_bits & 1 or not known:
            raise FormatError(
                f"has an encrypted or unusually compressed zip entry {entry.filename!r:.80}. "
                "Unpack it and zip it again without password, stored or deflated"
            )
        # torch.serialization.set_crc32_options(False) writes 0 instead of a checksum.
        if entry.CRC == 0:
            del entry.CRC
    check_unpacked_size(sum(entry.file_size for entry in entries), len(data))
    return Archive(archive, data)


def read_entry(archive: Archive, name: str) -> memoryview:
    """One entry: a view of the file where it is stored, else at most the bytes it declares.

    Raises:
      FormatError: if there is no such entry or its checksum is wrong.
    """
    try:
        entry = archive.directory.getinfo(name)
        if entry.compress_type == zipfile.ZIP_STORED:
            return _stored(archive, entry)
        return memoryview(archive.directory.read(entry))
    except KeyError:
        raise FormatError(
            f"lacks the zip entry {name!r:.80}. The file is incomplete: copy or download it again"
        ) from None
    except zipfile.BadZipFile as error:
        raise FormatError(
            f"has a damaged zip entry {name!r:.80} ({str(error):.120}). "
            "Copy or download the file again"
        ) from error


def _stored(archive: Archive, entry: zipfile.ZipInfo) -> memoryview:
    """Where an entry lies, once its local header and its checksum were found right."""
    if entry.compress_size != entry.file_size:
        raise zipfile.BadZipFile("it is stored, but its two sizes differ")
    start, data = entry.header_offset, archive.data
    with archive.directory.open(entry) as stream:
        done = 0
        while chunk := stream.read(_BLOCK):
            done += len(chunk)
            forget(data, start + done - len(chunk), 2 * _BLOCK)
    start += _LOCAL_HEADER + sum(struct.unpack_from("<HH", data, start + _NAME_LENGTHS))
    if done != entry.file_size or start + done > len(data):
        raise zipfile.BadZipFile("it ends early")
    return memoryview(data)[start : start + done]
