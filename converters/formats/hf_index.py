"""The index of a sharded Hugging Face model: which file holds which tensor.

Format: `weight_map` of tensor name to file name, as `save_pretrained` of
https://github.com/huggingface/transformers writes it. Nothing in it is trusted: a name of a file
is looked up in the folder, never followed out of it.
"""

import os
import re
from collections.abc import Iterable
from typing import Any

_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_PARTS = re.compile(r"[/\\:\0]")
_MOST_SHOWN = 8


def is_shard_name(name: Any, suffix: str) -> bool:
    """Whether it is the name of a file beside the index, with that suffix, on any system.

    >>> is_shard_name("model-1.safetensors", ".safetensors")
    True
    >>> is_shard_name("../model-1.safetensors", ".safetensors")
    False
    """
    return type(name) is str and name.endswith(suffix) and not _PARTS.search(name)


def unlisted_shards(inside: Iterable[str], index_name: str, listed: Iterable[str]) -> list[str]:
    """Names of shards in the folder that the index says nothing of."""
    stem, suffix = os.path.splitext(index_name.removesuffix(".index.json"))
    shards = {n for n in inside if n.startswith(f"{stem}-") and n.endswith(suffix)}
    return sorted(n for n in shards - set(listed) if _SHARD.search(n))


def tensor_faults(weight_map: dict[str, Any], found: dict[str, list[str]]) -> list[str]:
    """How the tensors in the shards differ from the index.

    Args:
      weight_map: the file of each tensor, as the index has it.
      found: names of the tensors in each shard that could be read.
    """
    places: dict[str, list[str]] = {}
    for shard, names in found.items():
        for name in names:
            places.setdefault(name, []).append(shard)
    twice = [f"{name!r:.80} ({', '.join(s)})" for name, s in places.items() if len(s) > 1]
    missing = [
        f"{name!r:.80} ({shard})"
        for name, shard in weight_map.items()
        if type(shard) is str and shard in found and shard not in places.get(name, ())
    ]
    extra = [f"{name!r:.80} ({s[0]})" for name, s in places.items() if name not in weight_map]
    return [
        f"{title}: {listing(names)}"
        for title, names in (
            ("tensors in several shards", twice),
            ("tensors that are not in their shard", missing),
            ("tensors that the index lacks", extra),
        )
        if names
    ]


def listing(names: list[str]) -> str:
    """At most eight names, and how many there are beyond."""
    shown = ", ".join(f"{name:.200}" for name in names[:_MOST_SHOWN])
    more = len(names) - _MOST_SHOWN
    return shown + (f" and {more} more" if more > 0 else "")
