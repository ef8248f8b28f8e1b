"""What files of BERT tell: tensors by the names of Hugging Face, old or new, and sizes."""

import re

from jgaprune.converters.models.architecture import Config, Shapes, rows_of

HEADS = ("classifier", "pooler", "tokens")
_HEAD_SIZE = 64
_CONTEXT = 512
_PREFIX = "bert."
_OLD_KINDS = {"gamma": "weight", "beta": "bias"}
_POSITION_IDS = "embeddings.position_ids"
_PRE_TRAINING = "cls."


def our_name(name: str) -> str:
    """The name in `BertForSequenceClassification` of a tensor of `BertModel`, or of old files.

    >>> our_name("embeddings.LayerNorm.gamma")
    'bert.embeddings.LayerNorm.weight'
    """
    place, _, kind = name.rpartition(".")
    name = f"{place}.{_OLD_KINDS.get(kind, kind)}"
    inside = name.startswith(("embeddings.", "encoder.", "pooler."))
    return _PREFIX + name if inside else name


def renamed(shapes: Shapes) -> dict[str, str]:
    """From our names to the file's."""
    return {our_name(name): name for name in shapes}


def has_no_leaf(name: str) -> bool:
    """Whether a tensor is a table of numbers, or of a head that only the pre-training needs.

    Without those heads the network ends at the pooler.
    """
    return name.endswith(_POSITION_IDS) or name.startswith(_PRE_TRAINING)


def is_likely(shapes: Shapes) -> bool:
    """Whether tokens have segments."""
    return any(name.endswith("embeddings.token_type_embeddings.weight") for name in shapes)


def infer(shapes: Shapes) -> Config:
    """All arguments; heads of 64 channels."""
    shapes = {our_name(name): shape for name, shape in shapes.items()}
    embeddings = "bert.embeddings."
    dim = rows_of(shapes, f"{embeddings}LayerNorm.weight", _HEAD_SIZE)
    positions = rows_of(shapes, f"{embeddings}position_embeddings.weight", _CONTEXT)
    first_layer = "bert.encoder.layer.0.intermediate.dense.weight"
    return {
        "dim": dim,
        "num_layers": max(1, len({n for n in shapes if re.fullmatch(_INTERMEDIATE, n)})),
        "num_heads": dim // _HEAD_SIZE if dim % _HEAD_SIZE == 0 else 1,
        "hidden": rows_of(shapes, first_layer, 4 * dim),
        "vocabulary": rows_of(shapes, f"{embeddings}word_embeddings.weight", 512),
        "positions": positions,
        "segments": rows_of(shapes, f"{embeddings}token_type_embeddings.weight", 2),
        "context": min(positions, _CONTEXT),
        "num_classes": rows_of(shapes, "classifier.weight", 2),
        "head": _head(shapes),
        "eps": 1e-12,
        "activation": "gelu",
    }


_INTERMEDIATE = r"bert\.encoder\.layer\.\d+\.intermediate\.dense\.weight"


def _head(shapes: Shapes) -> str:
    if shapes and "classifier.weight" not in shapes:
        return "pooler"
    return "classifier" if not shapes or "bert.pooler.dense.weight" in shapes else "tokens"
