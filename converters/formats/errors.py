"""The one error of this package, and how much memory a file may ask for.

What a file claims about sizes is checked here before anything is allocated.
"""

_FREE_BYTES = 2**29
_LARGEST_RATIO = 64


class FormatError(ValueError):
    """A weight file can't be read or written; the message says why and what to do instead."""


def check_unpacked_size(num_bytes: int, file_bytes: int) -> None:
    """Refuse contents that are absurdly large for the file that holds them.

    Sparse weights compress well, so the limit is generous: 512 MiB plus 64 times the file.

    Args:
      num_bytes: size of all contents in memory, as the file declares it.
      file_bytes: size of the file itself.

    Raises:
      FormatError: if the declared size is over the limit.

    >>> check_unpacked_size(2**20, 100)
    """
    limit = largest_contents(file_bytes)
    if num_bytes > limit:
        raise FormatError(
            f"declares {num_bytes:,} bytes of contents but is only {file_bytes:,} bytes long; "
            f"at most {limit:,} are accepted. The file is damaged or was made to exhaust memory. "
            "Save the weights again without compression and without expanded tensors"
        )


def largest_contents(file_bytes: int) -> int:
    """How many bytes of contents a file of that size may declare."""
    return _FREE_BYTES + _LARGEST_RATIO * file_bytes
