"""Mutated weight files: ways to damage whole ones.

The same format and number always give the same file. Damage is done to the bytes as they are, and
behind lengths and checksums that hide it otherwise: to the pickle in a zip, to values of a JSON.
"""

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable

from whole_files import ONE, Files

_ODD_NAMES = (
    "../x",
    "/etc/passwd",
    "..\\x",
    "a/../../data.pkl",
    "",
    "x\0y",
    "e" * 70_000,
    "\u202e",
)
_ODD_NUMBERS = (-1, 0, 1, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63, 2**64, 10**400, -(2**63))
_ODD_VALUES = (
    *_ODD_NUMBERS,
    *_ODD_NAMES,
    None,
    True,
    [],
    {},
    [[]],
    1e308,
    float("nan"),
    "bfloat16",
)
_ATTACKS = (
    b"cposix\nsystem\nX\x0b\0\0\0echo > evil\x85R",
    b"cbuiltins\neval\nX\x01\0\0\x001\x85R",
    b"(X\x0b\0\0\0echo > evilios\nsystem\n",
    b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"r\xff\xff\xff\xff", b")\x85" * 5000,
    b"]q\x01h\x01a", b")" + b"2\x86" * 60, b"(" * 5000, b"Lx" + b"9" * 9000 + b"\n",
)  # fmt: skip
_HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (%d, %d, 0), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (%d,), }",
    "{'descr': [('a', '<f4', (%d,))], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<U%d', 'fortran_order': False, 'shape': (), }",
    "{'descr': '|V%d', 'fortran_order': False, 'shape': (2,), }",
    "__import__('os').system('echo > evil') or %d",
    "-" * 9000 + "%d",
    "(" * 5000 + "%d",
    "{'descr': 'M8[%d s]', 'fortran_order': False, 'shape': ()}",
)


def flipped(raw: bytes, rng: random.Random) -> bytes:
    """A few bits or bytes are others, or a stretch is gone, doubled, or the end is missing."""
    data = bytearray(raw)
    kind = rng.random()
    if not data or kind < 0.15:
        return bytes(data[: rng.randrange(len(data) + 1)])
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.choice((1, 4, 8, 64)))
    if kind < 0.25:
        del data[start:stop]
    elif kind < 0.35:
        data[start:start] = data[start:stop] * rng.choice((1, 3))
    elif kind < 0.6:
        size = rng.choice(["<H", "<I", "<Q", ">I"])
        number = rng.choice(_ODD_NUMBERS) % 256 ** struct.calcsize(size)
        data[start : start + struct.calcsize(size)] = struct.pack(size, number)
    else:
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def reworded(raw: bytes, rng: random.Random) -> bytes:
    """A JSON text with one value, name or key that is odd, or with a key twice."""
    tree = json.loads(raw)
    parent, key = rng.choice(_places(tree))
    kind = rng.random()
    if kind < 0.6:
        parent[key] = rng.choice(_ODD_VALUES)
    elif kind < 0.75 and isinstance(parent, dict):
        parent[rng.choice(_ODD_NAMES)] = parent.pop(key)
    elif kind < 0.85:
        del parent[key]
    text = json.dumps(tree)
    if kind >= 0.95:
        text = '{"a":' * 3000 + text + "}" * 3000
    elif kind >= 0.85:
        first = text.find('"')
        text = text[:first] + text[first : text.find(",", first) + 1] * 2 + text[first:]
    return text.encode()


def _places(tree) -> list:
    """Every (container, key or index) of a JSON tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    places = [(tree, key) for key, _ in items]
    children = tree.values() if isinstance(tree, dict) else tree
    return places + [
        p for child in children if isinstance(child, dict | list) for p in _places(child)
    ]


def rezipped(raw: bytes, rng: random.Random) -> bytes:
    """A zip file with right checksums and one damaged, renamed, doubled or inflated entry."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    place = rng.randrange(len(entries))
    name, content = entries[place]
    kind = rng.random()
    if kind < 0.7:
        entries[place] = name, _inner(name, content, rng)
    elif kind < 0.8:
        entries[place] = rng.choice(_ODD_NAMES)[:60_000] or ".", content
    elif kind < 0.9:
        entries.insert(rng.randrange(len(entries)), (name, flipped(content, rng)))
    else:
        entries[place] = name, bytes(2**21)
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if kind >= 0.9 or rng.random() < 0.3 else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in entries:
            archive.writestr(name, content)
    data = buffer.getvalue()
    return flipped(data, rng) if kind > 0.97 else data


def _inner(name: str, content: bytes, rng: random.Random) -> bytes:
    """One entry, damaged as what it is."""
    if name.endswith(".pkl"):
        return repickled(content, rng)
    if name.endswith(".json") and rng.random() < 0.8:
        return reworded(content, rng)
    if name.endswith(".h5"):
        return restructured(content, rng)
    if name.endswith(".npy") and rng.random() < 0.6:
        header = rng.choice(_HEADERS)
        filled = header % tuple(rng.choice(_ODD_NUMBERS) for _ in range(header.count("%d")))
        text = filled.encode() + b"\n"
        return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text) % 2**16) + text + content[-256:]
    return flipped(content, rng)


def repickled(raw: bytes, rng: random.Random) -> bytes:
    """A pickle with flipped bytes, or with an attack somewhere inside."""
    if rng.random() < 0.6:
        return flipped(raw, rng)
    place = rng.randrange(2, len(raw))
    return raw[:place] + rng.choice(_ATTACKS) + raw[place:]


def restructured(raw: bytes, rng: random.Random) -> bytes:
    """An HDF5 file with odd numbers in its structures, or one part of them in place of another.

    Numbers of 8, 4 and 2 bytes lie at multiples of their length there, nearly always.
    """
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 5))):
        size = rng.choice((1, 2, 4, 8, 8))
        place = size * rng.randrange(len(raw) // size)
        kind = rng.random()
        if kind < 0.4:
            number = rng.choice((*_ODD_NUMBERS, rng.randrange(len(raw)))) % 256**size
            data[place : place + size] = number.to_bytes(size, "little")
        elif kind < 0.7:
            data[place] = (data[place] + rng.choice((1, -1, 2, 8, 128))) % 256
        else:
            other, length = size * rng.randrange(len(raw) // size), size * rng.choice((1, 4, 16))
            data[place : place + length] = raw[other : other + length]
    return bytes(data[: len(raw)]) if rng.random() < 0.9 else flipped(bytes(data), rng)


def reheaded(raw: bytes, rng: random.Random) -> bytes:
    """A `.safetensors` file with another header and a right or wrong length of it."""
    stop = 8 + int.from_bytes(raw[:8], "little")
    header = reworded(raw[8:stop], rng)
    length = len(header) if rng.random() < 0.9 else rng.choice(_ODD_NUMBERS) % 2**64
    return struct.pack("<Q", length) + header + raw[stop:]


def renumbered(raw: bytes, rng: random.Random) -> bytes:
    """A llama2.c file with other sizes in its header."""
    place = 4 * rng.randrange(7)
    number = rng.choice((*_ODD_NUMBERS, 2, 3, 2**24, 2**12)) % 2**32
    return raw[:place] + struct.pack("<I", number) + raw[place + 4 :]


def _in_folder(files: Files, rng: random.Random) -> Files:
    """One file of a folder damaged as what it is, missing, or under another's name."""
    name = rng.choice([name for name in files if files[name]])
    if rng.random() < 0.04:
        return {other: raw for other, raw in files.items() if other != name}
    if rng.random() < 0.04:
        return files | {rng.choice(list(files)): files[name]}
    raw, change = files[name], flipped
    if rng.random() < 0.7:
        if raw.lstrip()[:1] == b"{":
            change = reworded
        elif name.endswith(".safetensors"):
            change = reheaded
        elif name.endswith(".bin"):
            change = rezipped
    return files | {name: change(raw, rng)}


def mutated(kind: str, whole: list[Files], number: int) -> Files:
    """File `number` of a format, made from one of the whole ones."""
    rng = random.Random(f"{kind} {number}")
    files = rng.choice(whole)
    if ONE not in files:
        return _in_folder(files, rng)
    change = _OWN[kind] if rng.random() < 0.6 else flipped
    return {ONE: change(files[ONE], rng)}


_OWN: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "pth zip": rezipped,
    "pth legacy": repickled,
    "safetensors": reheaded,
    "npz": rezipped,
    "llama2c": renumbered,
    "hdf5": restructured,
    "keras": rezipped,
}
