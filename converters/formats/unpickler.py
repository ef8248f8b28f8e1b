"""A pickle machine that can't run code: it knows data, and names from an allow-list.

Python's own unpickler imports and calls what a file names. This one interprets the opcodes
itself and never imports anything: a name in the file becomes what `Hooks.find_global` returns
for it, and only a `Constructor` from there can be called. Which names are allowed is not
decided here but in `torch_pickle`. Opcodes as described in CPython's `pickletools`; those
that torch.save can't write (text protocol, object building, copyreg extensions) are refused.
"""

from collections.abc import Callable
from typing import Any

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.machine import (
    MAX_PICKLE_BYTES,
    Constructor,
    Hooks,
    Machine,
    check_key,
)


def load(data: FileBytes, hooks: Hooks, start: int = 0) -> tuple[Any, int]:
    """Interpret one pickle.

    Args:
      data: bytes that contain the pickle.
      hooks: meaning of names, persistent ids and states.
      start: where the pickle begins.

    Returns:
      The value, and the position after the pickle.

    Raises:
      FormatError: for refused names or opcodes and truncated pickles. Other damage surfaces as
        a built-in exception, which `read` turns into a FormatError.

    >>> load(b"]K\\x01a.", Hooks(None, None, None))
    ([1], 5)
    """
    machine = Machine(data, start, min(len(data), start + MAX_PICKLE_BYTES), hooks)
    while (opcode := machine.take(1)) != b".":
        action = _ACTIONS.get(opcode)
        if action is None:
            raise FormatError(_refused_opcode(opcode))
        action(machine)
    return machine.stack.pop(), machine.position


def _refused_opcode(opcode: bytes) -> str:
    reason = _REFUSED.get(opcode, "is unknown")
    return (
        f"has a pickle with opcode {opcode!r}, which {reason}; torch.save never writes it. "
        "Nothing was executed. Get the weights as .safetensors, or as a state_dict saved with "
        "torch.save(model.state_dict(), path)"
    )


def _text(raw: bytes) -> str | bytes:
    """Python 2 strings hold either text or raw bytes; only decoding tells."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _push(read: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(read(machine))


def _collect(build: Callable[[list[Any]], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(build(machine.since_mark()))


def _tuple(count: int) -> Callable[[Machine], None]:
    def action(machine: Machine) -> None:
        items = [machine.stack.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return action


def _container(machine: Machine, kind: type) -> Any:
    container = machine.stack[-1]
    if type(container) is not kind:
        raise FormatError(
            f"has a pickle that fills a {type(container).__name__} like a {kind.__name__}. "
            "The file is damaged: copy or download it again"
        )
    return container


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {check_key(k): v for k, v in zip(items[::2], items[1::2], strict=True)}


def _keys(items: list[Any]) -> list[Any]:
    return [check_key(item) for item in items]


def _append(machine: Machine) -> None:
    item = machine.stack.pop()
    _container(machine, list).append(item)


def _appends(machine: Machine) -> None:
    items = machine.since_mark()
    _container(machine, list).extend(items)


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _container(machine, dict)[check_key(key)] = value


def _set_items(machine: Machine) -> None:
    items = machine.since_mark()
    _container(machine, dict).update(_pairs(items))


def _add_items(machine: Machine) -> None:
    items = machine.since_mark()
    _container(machine, set).update(_keys(items))


def _put(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def action(machine: Machine) -> None:
        machine.memo[read(machine)] = machine.stack[-1]

    return action


def _get(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.memo[read(machine)])


def _stack_global(machine: Machine) -> Any:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise FormatError("has a pickle that takes a name from something that is no text")
    return machine.hooks.find_global(module, name)


def _inst(machine: Machine) -> None:
    machine.hooks.find_global(machine.line(), machine.line())
    raise FormatError(_refused_opcode(b"i"))


def _reduce(machine: Machine) -> Any:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    if type(function) is not Constructor or type(arguments) is not tuple:
        raise FormatError(
            f"has a pickle that calls a {type(function).__name__}; nothing was executed. "
            "Save a plain state_dict instead: torch.save(model.state_dict(), path)"
        )
    machine.charge(arguments)
    return function.build(*arguments)


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    machine.hooks.set_state(machine.stack[-1], state)


def _little_int(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


def _int_line(machine: Machine) -> int | bool:
    text = machine.line()
    return text == "01" if text in ("00", "01") else int(text)


_REFUSED = {
    b"\x82": "stands for a class registered with copyreg",
    b"\x83": "stands for a class registered with copyreg",
    b"\x84": "stands for a class registered with copyreg",
    b"i": "builds an object of a class",
    b"o": "builds an object of a class",
    b"\x92": "builds an object of a class",
    b"P": "is a text persistent id",
    b"\x97": "needs an out-of-band buffer",
    b"\x98": "needs an out-of-band buffer",
}

_ACTIONS: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m.since_mark(),
    b"2": _push(lambda m: m.stack[-1]),
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"I": _push(_int_line),
    b"J": _push(lambda m: m.number("<i")),
    b"K": _push(lambda m: m.number("<B")),
    b"M": _push(lambda m: m.number("<H")),
    b"L": _push(lambda m: int(m.line().rstrip("L"))),
    b"\x8a": _push(lambda m: _little_int(m.take(m.number("<B")))),
    b"\x8b": _push(lambda m: _little_int(m.take(m.number("<I")))),
    b"G": _push(lambda m: m.number(">d")),
    b"T": _push(lambda m: _text(m.take(m.number("<I")))),
    b"U": _push(lambda m: _text(m.take(m.number("<B")))),
    b"X": _push(lambda m: m.take(m.number("<I")).decode()),
    b"\x8c": _push(lambda m: m.take(m.number("<B")).decode()),
    b"\x8d": _push(lambda m: m.take(m.number("<Q")).decode()),
    b"B": _push(lambda m: m.take(m.number("<I"))),
    b"C": _push(lambda m: m.take(m.number("<B"))),
    b"\x8e": _push(lambda m: m.take(m.number("<Q"))),
    b"\x96": _push(lambda m: m.take(m.number("<Q"))),
    b"]": _push(lambda m: []),
    b"}": _push(lambda m: {}),
    b")": _push(lambda m: ()),
    b"\x8f": _push(lambda m: set()),
    b"t": _collect(tuple),
    b"\x91": _collect(lambda items: frozenset(_keys(items))),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"a": _append,
    b"e": _appends,
    b"s": _set_item,
    b"u": _set_items,
    b"\x90": _add_items,
    b"q": _put(lambda m: m.number("<B")),
    b"r": _put(lambda m: m.number("<I")),
    b"\x94": _put(lambda m: len(m.memo)),
    b"h": _get(lambda m: m.number("<B")),
    b"j": _get(lambda m: m.number("<I")),
    b"c": _push(lambda m: m.hooks.find_global(m.line(), m.line())),
    b"\x93": _push(_stack_global),
    b"i": _inst,
    b"R": _push(_reduce),
    b"\x81": _push(_reduce),
    b"Q": _push(lambda m: m.hooks.persistent_load(m.stack.pop())),
    b"b": _build,
}
