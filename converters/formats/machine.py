"""The parts of the pickle machine: what it asks for, and its stack, marks and memo.

What each opcode does to the stack is in `unpickler`; which names a file may use is in
`torch_pickle`.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes

MAX_PICKLE_BYTES = 2**25
"""A pickle holds names and shapes, no weights: 32 MiB is far above the largest models."""


FREE_ITEMS = 2**16
"""What constructors may copy beyond one item for each byte of the file."""


_CUT = (
    "ends inside its pickle (or the pickle is over 32 MiB). The file is truncated or damaged: copy "
    "or download it again"
)


class Constructor(NamedTuple):
    """A harmless function of ours that stands for a name in the file."""

    name: str
    build: Callable[..., Any]


class Hooks(NamedTuple):
    """What the machine asks its caller for."""

    find_global: Callable[[str, str], Any]
    """Module and name to a `Constructor` or an inert value; raises for anything unknown."""
    persistent_load: Callable[[Any], Any]
    """A persistent id to the inert value it stands for."""
    set_state: Callable[[Any, Any], None]
    """Take over the state of a built value, or raise; must not set attributes from the file."""


@dataclass
class Machine:
    """Stack, marks and memo of one run over `data[position:end]`."""

    data: FileBytes
    position: int
    end: int
    hooks: Hooks
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    num_copied: int = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes; the check comes before any copy."""
        stop = self.position + count
        if stop > self.end:
            raise FormatError(_CUT)
        chunk = self.data[self.position : stop]
        self.position = stop
        return chunk

    def line(self) -> str:
        """Return the text up to the next newline."""
        stop = self.data.find(b"\n", self.position, self.end)
        if stop < 0:
            raise FormatError(_CUT)
        text = self.data[self.position : stop].decode()
        self.position = stop + 1
        return text

    def number(self, layout: str) -> Any:
        """Return the next number, `layout` as in `struct`."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def since_mark(self) -> list[Any]:
        """Pop everything above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def charge(self, arguments: tuple[Any, ...]) -> None:
        """Count what a `Constructor` may copy, and refuse more than a file can spell out.

        A memoised argument costs the file two bytes each time, however long it is.
        """
        self._count(len(arguments))
        self._count(sum(len(value) for value in arguments if type(value) in _SIZED))

    def _count(self, num_items: int) -> None:
        self.num_copied += num_items
        if self.num_copied > FREE_ITEMS + self.end:
            raise FormatError(
                "has a pickle that copies its values over and over. It is damaged or was made to "
                "exhaust memory: save a plain state_dict instead"
            )


_SIZED = (str, bytes, tuple, list, dict, set, frozenset)


def check_key(key: Any) -> Any:
    """Return a dict key or set member if it hashes in constant time, else raise FormatError."""
    parts = key if type(key) is tuple and len(key) <= 8 else (key,)
    for part in parts:
        is_small_int = type(part) is int and abs(part) < 2**60
        if not (is_small_int or part is None or type(part) in (str, bytes, float, bool)):
            raise FormatError(
                f"has a {type(part).__name__} as dict key or set member; names and numbers are "
                "expected. Save a plain state_dict instead"
            )
    return key
