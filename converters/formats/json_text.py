"""JSON from files of others: bounded in size, and without two values under one name."""

import json
from collections import Counter
from typing import Any

from jgaprune.converters.formats.errors import FormatError

MAX_JSON_BYTES = 2**24
"""Room for the names of some 100,000 tensors; Python's values take about 20 times as much."""


def parse_json(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
      raw: UTF-8 text.

    Raises:
      FormatError: if it is too long, no JSON, no object, nested too deeply, or an object in it
        has two values under one name.

    >>> parse_json(b'{"hidden_size": 64}')
    {'hidden_size': 64}
    """
    if len(raw) > MAX_JSON_BYTES:
        raise FormatError(f"is over {MAX_JSON_BYTES:,} bytes long, more than any model needs")
    try:
        value = json.loads(raw, object_pairs_hook=_without_duplicates)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise FormatError(f"is damaged ({reason:.120}). Copy or download it again") from error
    if type(value) is not dict:
        raise FormatError(f"is a JSON {type(value).__name__} where an object is expected")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise FormatError(f"has two values named {twice!r:.80}. Remove one of them")
    return items
