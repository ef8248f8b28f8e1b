"""llama2.c in NumPy: its file, written byte by byte, and its forward pass, token by token.

Independent of the code under test; after `run.c` of karpathy/llama2.c.
"""

import struct
from typing import NamedTuple

import numpy as np

LAYER_KINDS = ("att_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3")


class Sizes(NamedTuple):
    """A header; `vocabulary` is positive here."""

    dim: int = 8
    hidden: int = 12
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 11
    context: int = 6


def random_weights(sizes: Sizes, own_head: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """One array per kind, layers first; large enough that every part of the network matters."""
    random = np.random.RandomState(seed)
    dim, hidden, kv = sizes.dim, sizes.hidden, sizes.dim // sizes.heads * sizes.kv_heads
    shapes = {
        "att_norm": (dim,),
        "wq": (dim, dim),
        "wk": (kv, dim),
        "wv": (kv, dim),
        "wo": (dim, dim),
        "ffn_norm": (dim,),
        "w1": (hidden, dim),
        "w2": (dim, hidden),
        "w3": (hidden, dim),
    }
    weights = {"embedding": random.randn(sizes.vocabulary, dim)}
    weights |= {kind: random.randn(sizes.layers, *shape) * 0.6 for kind, shape in shapes.items()}
    weights["norm"] = random.randn(dim) + 1
    if own_head:
        weights["head"] = random.randn(sizes.vocabulary, dim)
    return {kind: array.astype(np.float32) for kind, array in weights.items()}


def file_bytes(sizes: Sizes, weights: dict[str, np.ndarray]) -> bytes:
    """The legacy export."""
    sign = -1 if "head" in weights else 1
    header = struct.pack("<7i", *sizes._replace(vocabulary=sign * sizes.vocabulary))
    parts = [weights[kind] for kind in ("embedding", *LAYER_KINDS, "norm")]
    angles = _angles(sizes, np.arange(sizes.context))
    parts += [np.cos(angles), np.sin(angles)]
    parts += [weights["head"]] if "head" in weights else []
    return header + b"".join(part.astype("<f4").tobytes() for part in parts)


def logits(sizes: Sizes, weights: dict[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """`[L, V]` of one window `[L]`, one token after another with a cache, in float64."""
    w = {kind: array.astype(np.float64) for kind, array in weights.items()}
    size, share = sizes.dim // sizes.heads, sizes.heads // sizes.kv_heads
    keys = [[] for _ in range(sizes.layers)]
    values = [[] for _ in range(sizes.layers)]
    rows = []
    for position, token in enumerate(tokens):
        x = w["embedding"][token].copy()
        for n in range(sizes.layers):
            y = _normed(x, w["att_norm"][n])
            q = _turned(sizes, w["wq"][n] @ y, position).reshape(sizes.heads, size)
            keys[n].append(_turned(sizes, w["wk"][n] @ y, position).reshape(-1, size))
            values[n].append((w["wv"][n] @ y).reshape(-1, size))
            known = np.stack(keys[n], 1), np.stack(values[n], 1)
            heads = [_attended(q[h], *(k[h // share] for k in known)) for h in range(sizes.heads)]
            x = x + w["wo"][n] @ np.concatenate(heads)
            y = _normed(x, w["ffn_norm"][n])
            gate = w["w1"][n] @ y
            x = x + w["w2"][n] @ (gate / (1 + np.exp(-gate)) * (w["w3"][n] @ y))
        rows.append(w.get("head", w["embedding"]) @ _normed(x, w["norm"]))
    return np.stack(rows)


def _normed(x, scale):
    return scale * x / np.sqrt(np.mean(x**2) + 1e-5)


def _attended(query, keys, values):
    scores = keys @ query / np.sqrt(len(query))
    shares = np.exp(scores - scores.max())
    return shares / shares.sum() @ values


def _turned(sizes, vector, position):
    size = sizes.dim // sizes.heads
    out = vector.copy()
    for i in range(0, len(vector), 2):
        angle = position / 10000.0 ** ((i % size) / size)
        a, b = vector[i], vector[i + 1]
        out[i] = a * np.cos(angle) - b * np.sin(angle)
        out[i + 1] = a * np.sin(angle) + b * np.cos(angle)
    return out


def _angles(sizes, positions):
    size = sizes.dim // sizes.heads
    return positions[:, None] / 10000.0 ** (np.arange(0, size, 2) / size)
