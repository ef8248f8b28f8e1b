"""What files of Llama models tell: tensors by either of two sets of names, and sizes.

Leaves have Hugging Face's names. Files with Meta's, which llama2.c has too, are known as well:
in them neighbouring channels of a head are turned together, in Hugging Face's a channel of the
first half with one of the second.
"""

import math
import re

from jgaprune.converters.models.architecture import Config, Shapes, rows_of

_HEAD_SIZE = 64
CONTEXT = 512
"""Where nothing tells, or what is told is longer than most searches need."""
_META_LAYER = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "ffn_norm": "post_attention_layernorm",
}
_META_OUTSIDE = {
    "tok_embeddings": "model.embed_tokens",
    "norm": "model.norm",
    "output": "lm_head",
}
_TABLES = ("freq_cis_real", "freq_cis_imag", "freqs_cos", "freqs_sin", "rope.freqs")
_OUR_NORM = r"model\.layers\.\d+\.input_layernorm\.weight"


def infer(shapes: Shapes) -> Config:
    """All arguments; of heads only where a table of positions tells their size."""
    tied = "lm_head.weight" not in _ours(shapes) or _only_head(shapes)
    shapes = _ours(shapes)
    layer = "model.layers.0."
    dim = rows_of(shapes, "model.norm.weight", _HEAD_SIZE)
    head_size, context = _told_by_tables(shapes)
    num_heads, num_kv_heads = _heads(
        dim, rows_of(shapes, f"{layer}self_attn.k_proj.weight", dim), head_size or _HEAD_SIZE
    )
    return {
        "dim": dim,
        "num_layers": max(1, len({n for n in shapes if re.fullmatch(_OUR_NORM, n)})),
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "hidden": rows_of(shapes, f"{layer}mlp.gate_proj.weight", 4 * dim),
        "vocabulary": rows_of(shapes, "model.embed_tokens.weight", 512),
        "context": context or CONTEXT,
        "eps": 1e-5,
        "rope_base": 10000.0,
        "pairing": "interleaved" if _is_meta(shapes) else "half",
        "tied": tied,
    }


def _ours(shapes: Shapes) -> Shapes:
    """The shapes by the file's names, and by ours."""
    known = {name: shapes[found] for name, found in renamed(shapes).items() if found in shapes}
    return {**shapes, **known}


def _heads(dim: int, kv_dim: int, head_size: int) -> tuple[int, int]:
    """Query heads and key heads: of that size, else of the largest that goes into both."""
    if dim % head_size or kv_dim % head_size:
        head_size = math.gcd(dim, kv_dim)
    num_heads = max(1, dim // head_size)
    num_kv_heads = max(1, kv_dim * num_heads // dim)
    divides = dim % num_heads == 0 and num_heads % num_kv_heads == 0
    return (num_heads, num_kv_heads) if divides else (1, 1)


def _told_by_tables(shapes: Shapes) -> tuple[int, int]:
    """Channels of a head and length of the context, 0 where no table of positions tells."""
    tables = [shape for name, shape in shapes.items() if name.endswith(_TABLES)]
    known = next((shape for shape in tables if len(shape) == 2), (0, 0))
    frequencies = [s for n, s in shapes.items() if n.endswith("inv_freq") and len(s) == 1]
    return 2 * (known[1] or next(iter(frequencies), (0,))[0]), known[0]


def told(shapes: Shapes) -> tuple[str, ...]:
    """The arguments that tables of positions tell."""
    head_size, context = _told_by_tables(shapes)
    heads = ("num_heads", "num_kv_heads") if head_size else ()
    return (*heads, "context") if context else heads


def is_table(name: str) -> bool:
    """Whether a tensor holds sines and cosines, or frequencies, of positions."""
    return name.endswith((*_TABLES, "rotary_emb.inv_freq"))


def _is_meta(shapes: Shapes) -> bool:
    return "tok_embeddings.weight" in shapes


def renamed(shapes: Shapes) -> dict[str, str]:
    """From our names to Meta's, or to Hugging Face's without a common prefix `model.`.

    Of a head that is the embedding, a file may hold either name.
    """
    if _is_meta(shapes):
        return {our_name(name): name for name in shapes}
    if _only_head(shapes):
        return {"model.embed_tokens.weight": "lm_head.weight"}
    stripped = "embed_tokens.weight" in shapes
    return {f"model.{name}": name for name in shapes} if stripped else {}


def _only_head(shapes: Shapes) -> bool:
    return "lm_head.weight" in shapes and "model.embed_tokens.weight" not in shapes


def our_name(meta_name: str) -> str:
    """Hugging Face's name of a tensor from Meta's, which llama2.c has as well.

    >>> our_name("layers.0.attention.wq.weight")
    'model.layers.0.self_attn.q_proj.weight'
    """
    place, _, kind = meta_name.rpartition(".")
    if found := re.fullmatch(r"layers\.(\d+)\.(.+)", place):
        number, layer = found.groups()
        return f"model.layers.{number}.{_META_LAYER.get(layer, layer)}.{kind}"
    return f"{_META_OUTSIDE.get(place, place)}.{kind}"


def tied(shapes: Shapes) -> tuple[str, str]:
    """The file's names of a head and of the embedding that it may be."""
    if _is_meta(shapes):
        return "output.weight", "tok_embeddings.weight"
    prefix = "" if "embed_tokens.weight" in shapes else "model."
    return "lm_head.weight", f"{prefix}embed_tokens.weight"


def is_likely(shapes: Shapes) -> bool:
    """Whether there is an embedding, or a head, of one of the known names."""
    names = ("embed_tokens.weight", "tok_embeddings.weight", "lm_head.weight")
    return any(name.endswith(names) for name in shapes)
