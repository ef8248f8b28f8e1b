"""What the processes of one run tell each other, and what all of them then know or raise.

All make these calls in the same order. Process 0 is the first: its clock decides, and it alone
reads and writes what belongs to the run. Where there is one process, nothing is told.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")

_MOST_WORDS = 2**24
"""Sent at once; what is longer is sent in parts, for it takes twice its size on every device."""


def is_first() -> bool:
    """Whether this is process 0."""
    return jax.process_index() == 0


def agreed(value: float) -> float:
    """What process 0 says, on all; the value itself where there is one process."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float32(value)))


def wait_for_all() -> None:
    """Until every process is here, as after compiling.

    CPUs that exchange something for the first time find each other within half a minute, or fail.
    """
    agreed(0.0)


def largest(value: int) -> int:
    """The largest of all processes' values, on all."""
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def shared(data: bytes) -> bytes:
    """What process 0 has, on all; the others' data count for nothing."""
    if jax.process_count() == 1:
        return data
    length = np.array([len(data) // 4 + 1, len(data) % 4], np.uint32)
    count, rest = (int(one) for one in multihost_utils.broadcast_one_to_all(length))
    words = _words(data if is_first() else b"", count)
    starts = range(0, count, _MOST_WORDS)
    parts = [multihost_utils.broadcast_one_to_all(words[i : i + _MOST_WORDS]) for i in starts]
    return np.concatenate(parts).tobytes()[: 4 * (count - 1) + rest]


def together(step: Callable[[], T]) -> T:
    """Does something on every process; where it fails on one, it fails on all.

    Raises:
      ValueError: or OSError, KeyboardInterrupt, or else RuntimeError, as on the process where it
        failed, which is named.
    """
    return _answered(step, "process {}: ")


def on_first(step: Callable[[], T]) -> T | None:
    """Does something on process 0 alone; all others return None, or raise the same as it does."""
    return _answered(lambda: step() if is_first() else None, "")


def _answered(step: Callable[[], T], named: str) -> T:
    if jax.process_count() == 1:
        return step()
    try:
        result, fault = step(), None
    except (Exception, KeyboardInterrupt) as error:  # the others must not wait for this process
        result, fault = None, error
    faults = [json.loads(text) for text in _everyones(json.dumps(_described(fault)))]
    if fault is not None:
        raise fault
    for index, other in enumerate(faults):
        if other is not None:
            raise _KINDS[other[0]](named.format(index) + other[1])
    return result  # type: ignore[return-value]


_KINDS: dict[str, type[BaseException]] = {
    "ValueError": ValueError,
    "OSError": OSError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "RuntimeError": RuntimeError,
}


def _described(fault: BaseException | None) -> Any:
    if fault is None:
        return None
    kind = next((name for name, one in _KINDS.items() if isinstance(fault, one)), "RuntimeError")
    return kind, str(fault) or repr(fault)


def _everyones(text: str) -> list[str]:
    """What every process says, in their order."""
    data = text.encode()
    size = largest(len(data) // 4 + 1)
    rows = multihost_utils.process_allgather(_words(data, size))
    return [row.tobytes().rstrip(b"\0").decode() for row in rows]


def _words(data: bytes, count: int) -> np.ndarray:
    """Bytes as so many numbers of a kind that every device can add, with zeros at the end."""
    words = np.zeros(count, np.uint32)
    words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
    return words
