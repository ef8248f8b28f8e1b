"""llama2.c's tokeniser: text to the tokens of `tok512.bin`, for the benchmark on stories.

Byte pairs in the order of their scores, as `encode` of `run.c` of karpathy/llama2.c does it. The
file: int32 longest piece; then for every token its score (float32), its length (int32) and bytes.
"""

import struct
from pathlib import Path

import numpy as np

START = 1
_FIRST_BYTE = 3
"""Token of the byte 0, for characters that are no piece."""


def read_pieces(path: str | Path) -> dict[bytes, tuple[int, float]]:
    """Token and score by piece."""
    data, place, token = Path(path).read_bytes(), 4, 0
    pieces: dict[bytes, tuple[int, float]] = {}
    while place < len(data):
        score, size = struct.unpack_from("<fi", data, place)
        piece = data[place + 8 : place + 8 + size]
        pieces.setdefault(piece, (token, score))
        place, token = place + 8 + size, token + 1
    return pieces


def encode(text: str, pieces: dict[bytes, tuple[int, float]]) -> list[int]:
    """Tokens of a text, without the one that starts it; a space is put in front."""
    parts: list[bytes] = []
    for character in " " + text:
        piece = character.encode()
        parts += [piece] if piece in pieces else [bytes([byte]) for byte in piece]
    while (place := _best_pair(parts, pieces)) is not None:
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return [pieces[p][0] if p in pieces else p[0] + _FIRST_BYTE for p in parts]


def windows(
    path: Path, pieces: dict[bytes, tuple[int, float]], num: int, length: int
) -> np.ndarray:
    """The first windows of a text file, `int32 [N, L]`, each behind the token that starts texts."""
    tokens: list[int] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if len(tokens) >= num * (length - 1):
            break
        tokens += encode(line.strip(), pieces) if line.strip() else []
    body = np.array(tokens[: num * (length - 1)], np.int32).reshape(num, length - 1)
    return np.pad(body, ((0, 0), (1, 0)), constant_values=START)


def _best_pair(parts: list[bytes], pieces: dict[bytes, tuple[int, float]]) -> int | None:
    """Where the pair of the highest score starts, the first of equals; None if there is none."""
    scores = [
        pieces.get(one + two, (0, -np.inf))[1] for one, two in zip(parts, parts[1:], strict=False)
    ]
    best = int(np.argmax(scores)) if scores else 0
    return best if scores and scores[best] > -np.inf else None
