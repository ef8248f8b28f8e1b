"""What devices send each other, read from the text of a compiled program."""

import re
from typing import NamedTuple

_OPERATION = re.compile(
    r"= (\(.*?\)|\S+) "
    r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(-start)?\("
)
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
_BITS = re.compile(r"\d+")


class Collective(NamedTuple):
    """One operation of a program, wherever in it: a loop repeats it, a branch may leave it out.

    Attributes:
      kind: XLA's name for it.
      num_bytes: that every device has from it.
    """

    kind: str
    num_bytes: int


def collectives(program: str) -> list[Collective]:
    """The collectives of a compiled program, `jax.jit(...).lower(...).compile().as_text()`.

    >>> collectives("%a = f32[8]{0} all-gather(%b), channel_id=1")
    [Collective(kind='all-gather', num_bytes=32)]
    """
    found = []
    for shape, kind, is_start in _OPERATION.findall(program):
        arrays = [_num_bytes(*array) for array in _ARRAY.findall(shape)]
        results = arrays[len(arrays) // 2 :] if is_start and len(arrays) > 1 else arrays
        found.append(Collective(kind, sum(results)))
    return found


def _num_bytes(dtype: str, sizes: str) -> int:
    count = 1
    for size in filter(None, sizes.split(",")):
        count *= int(size)
    bits = _BITS.search(dtype)
    return count * max(1, int(bits[0]) // 8) if bits else count
