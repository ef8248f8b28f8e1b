"""Just enough of protocol buffers to tell one kind of message from another.

Encoding: https://protobuf.dev/programming-guides/encoding/.
"""

_MOST_FIELDS = 4096
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


def top_level_fields(data: bytes) -> dict[int, set[int]]:
    """The wire types by field number of a message, or nothing if it isn't a whole one.

    Nothing is copied; contents of fields are skipped.

    >>> top_level_fields(b"\\x08\\x07\\x12\\x02hi")
    {1: {0}, 2: {2}}
    >>> top_level_fields(b"no message")
    {}
    """
    fields: dict[int, set[int]] = {}
    place = 0
    for _ in range(_MOST_FIELDS):
        if place == len(data):
            return fields
        key, place = _varint(data, place)
        number, wire_type = key >> 3, key & 7
        place = _after(data, place, wire_type)
        if number == 0 or not 0 < place <= len(data):
            return {}
        fields.setdefault(number, set()).add(wire_type)
    return fields


def _after(data: bytes, place: int, wire_type: int) -> int:
    """Where the next field starts; 0 for what is no field."""
    if wire_type == _VARINT:
        return _varint(data, place)[1]
    if wire_type == _LENGTH:
        size, place = _varint(data, place)
        return place and place + size
    return place + {_FIXED64: 8, _FIXED32: 4}[wire_type] if wire_type in (1, 5) and place else 0


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number and where it ends; (0, 0) if there is none."""
    value = 0
    for index, byte in enumerate(data[place : place + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    return 0, 0
