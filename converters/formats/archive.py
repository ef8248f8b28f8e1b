"""Zip containers, read from memory and never unpacked to disk: shared by `.pth` and `.npz`.

An entry's name is only ever compared, so paths that point outside mean nothing.
"""

import io
import zipfile

from jgaprune.converters.formats.errors import FormatError, check_unpacked_size


def open_archive(data: bytes) -> zipfile.ZipFile:
    """Open a zip file and check what its directory declares.

    Raises:
      FormatError: for a damaged directory, two entries of one name, encryption, compression
        other than deflate, and contents too large for the file (a zip bomb).
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise FormatError(
            f"is a damaged or truncated zip file ({error}). Copy or download it again"
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
    return archive


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read one entry, at most as many bytes as its directory declares.

    Raises:
      FormatError: if there is no such entry or its checksum is wrong.
    """
    try:
        return archive.read(name)
    except KeyError:
        raise FormatError(
            f"lacks the zip entry {name!r:.80}. The file is incomplete: copy or download it again"
        ) from None
    except zipfile.BadZipFile as error:
        raise FormatError(
            f"has a damaged zip entry {name!r:.80} ({error}). Copy or download the file again"
        ) from error
