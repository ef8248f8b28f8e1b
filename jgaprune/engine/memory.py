"""What compiled programs need of a device's memory, how much there is, and whether it ran out."""

import os
from collections.abc import Iterable
from typing import NamedTuple

import jax
from jax.stages import Compiled


class Need(NamedTuple):
    """Bytes that a program takes on each of its devices while it runs.

    Attributes:
      held: what it is given: weights, inputs, what a space is built on, the search's state.
      made: what it returns, where that is not written over what it was given.
      temporary: everything in between: masks, masked weights, activations.
    """

    held: int
    made: int
    temporary: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def need_of(program: Compiled) -> Need | None:
    """What a program needs, as its compiler says; None if that doesn't tell."""
    told = program.memory_analysis()
    if told is None:
        return None
    held = told.argument_size_in_bytes
    made = told.output_size_in_bytes - told.alias_size_in_bytes
    return Need(held, max(0, made), told.temp_size_in_bytes + told.generated_code_size_in_bytes)


def most_of(programs: Iterable[Compiled]) -> Need | None:
    """The need of the most demanding of several, which run one after another."""
    needs = [need for program in programs if (need := need_of(program)) is not None]
    return max(needs, key=lambda need: need.total, default=None)


def memory_limit() -> int | None:
    """Bytes that a device may use: of a CPU, those of the machine. None where that is not told."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit or device.platform != "cpu":
        return limit
    try:
        # The devices that a CPU may be divided into share its memory.
        pages = os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return None


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had none left."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def in_words(count: float) -> str:
    """Bytes in a unit that is easily read.

    >>> in_words(0), in_words(1536), in_words(12.25 * 2**30)
    ('0 B', '1.5 KiB', '12.2 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
