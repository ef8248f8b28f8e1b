"""Formats that are not read: how they are recognised, and the way that works instead.

The content decides wherever a format has a signature; suffixes help with the others.
"""

import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

from jgaprune.converters.formats.file_bytes import FileBytes
from jgaprune.converters.formats.protobuf import top_level_fields

_HEAD_BYTES = 2**16


class _Sample(NamedTuple):
    """What of a file is looked at."""

    head: bytes
    tail: bytes
    fields: dict[int, set[int]]
    """Wire types by number of the fields, if it is a protocol buffer."""


class _Foreign(NamedTuple):
    """A format, its signature, the ends of its files' names, and the way that works."""

    what: str
    is_it: Callable[[_Sample], bool]
    suffixes: tuple[str, ...]
    advice: str


def explain_foreign(data: FileBytes, suffix: str) -> str | None:
    """What a foreign file is and what to do instead, as the end of a sentence; None if unknown.

    Args:
      data: the whole file.
      suffix: end of its name, in lower case.
    """
    sample = _Sample(data[:_HEAD_BYTES], data[-8:], top_level_fields(data))
    by_content = (foreign for foreign in _FOREIGN if foreign.is_it(sample))
    by_suffix = (foreign for foreign in _FOREIGN if _ends(suffix, foreign.suffixes))
    for foreign in (*by_content, *by_suffix):
        return f"is {foreign.what}, which isn't read. {foreign.advice}"
    return None


def explain_archive(names: list[str]) -> str | None:
    """The same for a zip file with entries of these names."""
    last_parts = {name.rsplit("/", 1)[-1] for name in names}
    # The outermost folder is called like the file, so it may be any word.
    folders = {part for name in names for part in name.split("/")[1:-1]}
    if "constants.pkl" in last_parts or ("code" in folders and "data.pkl" in last_parts):
        return f"is a TorchScript archive, which contains code. {TORCHSCRIPT_ADVICE}"
    if last_parts & {"archive_format", "serialized_exported_program.json"}:
        return (
            "is a program saved by torch.export. In PyTorch: "
            "torch.save(torch.export.load(path).state_dict, 'weights.pth')"
        )
    if "extern_modules" in last_parts:
        return (
            "is a torch.package archive, which contains code. In PyTorch, load the module where "
            "you trust it and save its weights: torch.save(module.state_dict(), 'weights.pth')"
        )
    return None


def is_distributed_part(suffix: str) -> bool:
    """Whether a file is one of a distributed checkpoint: its content is a row of zip files."""
    return suffix.lower() == ".distcp"


def _starts(signature: bytes, at: int = 0) -> Callable[[_Sample], bool]:
    return lambda sample: sample.head[at : at + len(signature)] == signature


def _never(sample: _Sample) -> bool:
    return False


def _ends(suffix: str, suffixes: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, suffix) for pattern in suffixes)


def _is_onnx(sample: _Sample) -> bool:
    """A ModelProto: the version is field 1, the graph 7, and imported operators 8."""
    fields = sample.fields
    return fields.get(1) == {0} and any(fields.get(one) == {2} for one in (7, 8))


def _is_saved_model(sample: _Sample) -> bool:
    """A SavedModel: the version, 1, is field 1, and graphs are 2."""
    return sample.head.startswith(b"\x08\x01\x12") and sample.fields == {1: {0}, 2: {2}}


def _is_mlir_text(sample: _Sample) -> bool:
    return re.match(rb"(\s|//[^\n]*\n|#[^\n]*\n)*module\b[^\n]*\{", sample.head) is not None


def _is_exported(sample: _Sample) -> bool:
    """`jax.export` wraps bytecode of StableHLO in a flat buffer."""
    return b"ML\xefR" in sample.head and b"StableHLO" in sample.head


def _is_table(sample: _Sample) -> bool:
    """The index of a checkpoint is a table of LevelDB."""
    return sample.tail == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"


def _is_sklearn(sample: _Sample) -> bool:
    head = _inflated(sample.head)
    return head[:1] == b"\x80" and (b"sklearn" in head or b"joblib" in head)


def _inflated(head: bytes) -> bytes:
    """What joblib compressed by default; the head itself if it isn't."""
    try:
        return zlib.decompressobj().decompress(head, _HEAD_BYTES)
    except zlib.error:
        return head


KERAS_ADVICE = (
    "In Keras, save the arrays: numpy.savez('weights.npz', **{w.path: w.numpy() for w in "
    "model.weights})"
)
TORCHSCRIPT_ADVICE = "In PyTorch: torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
TENSORFLOW_ADVICE = (
    "In TensorFlow, save the arrays: r = tf.train.load_checkpoint({path!r}); "
    "numpy.savez('weights.npz', **{{n: r.get_tensor(n) for n, t in "
    "r.get_variable_to_dtype_map().items() if t.is_floating}})"
)
DISTRIBUTED_ADVICE = (
    "Merge it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth"
)
_PROGRAM_ADVICE = (
    "A compiled program has no layers to prune, and its weights are constants without names. Save "
    "the parameters where it was made: numpy.savez('weights.npz', **arrays), or an Orbax folder"
)
_ONNX_ADVICE = (
    "ONNX graphs have folded layers and lost names; save the weights in the framework they come "
    "from, e.g. torch.save(model.state_dict(), 'weights.pth')"
)
_PICKLE_ADVICE = (
    "A pickle may run any code. Load it where you trust it and save the arrays: "
    "numpy.savez('weights.npz', **arrays)"
)
_SKLEARN_ADVICE = (
    "A pickle may run any code. Load it where you trust it and save the arrays, of an "
    "MLPClassifier: numpy.savez('weights.npz', **{f'fc{i}.weight': w.T for i, w in "
    "enumerate(model.coefs_)}, **{f'fc{i}.bias': b for i, b in enumerate(model.intercepts_)})"
)
_GGUF_ADVICE = "Its weights are usually quantised; take the original model's .safetensors"
_FOREIGN = (
    _Foreign("a TensorFlow Lite file", _starts(b"TFL3", 4), (r"\.tflite",), KERAS_ADVICE),
    _Foreign("an ExecuTorch program", _starts(b"ET12", 4), (r"\.pte",), _PROGRAM_ADVICE),
    _Foreign("an ONNX file", _is_onnx, (r"\.onnx",), _ONNX_ADVICE),
    _Foreign(
        "a TensorFlow graph",
        _is_saved_model,
        (r"\.pb",),
        TENSORFLOW_ADVICE.format(path="FOLDER/variables/variables"),
    ),
    _Foreign(
        "a part of a TensorFlow checkpoint",
        _is_table,
        (r"\.ckpt", r"\.index", r"\.data-\d{5}-of-\d{5}"),
        TENSORFLOW_ADVICE.format(path="PATH without .index"),
    ),
    _Foreign("MLIR bytecode (StableHLO)", _starts(b"ML\xefR"), (r"\.mlirbc",), _PROGRAM_ADVICE),
    _Foreign("MLIR text (StableHLO)", _is_mlir_text, (r"\.mlir",), _PROGRAM_ADVICE),
    _Foreign("a program saved by jax.export", _is_exported, (), _PROGRAM_ADVICE),
    _Foreign("a GGUF file", _starts(b"GGUF"), (r"\.gguf",), _GGUF_ADVICE),
    _Foreign(
        "a GGML file",
        lambda sample: sample.head[:4] in (b"lmgg", b"fmgg", b"tjgg"),
        (r"\.ggml",),
        _GGUF_ADVICE,
    ),
    _Foreign(
        "a single NumPy array",
        _starts(b"\x93NUMPY"),
        (r"\.npy",),
        "It has no name; save it with one: numpy.savez('weights.npz', kernel=array)",
    ),
    _Foreign(
        "a tar archive",
        _starts(b"ustar", 257),
        (r"\.tar",),
        "If PyTorch before 0.2 wrote it, load it there and save the state_dict again; else unpack "
        "it",
    ),
    _Foreign(
        "a llama2.c model of a later version",
        _starts(b"24ka"),
        (),
        "Export it again with --version 0, or take its .pt",
    ),
    _Foreign(
        "a pointer of Git LFS",
        _starts(b"version https://git-lfs"),
        (),
        "The weights themselves are not here: run git lfs pull in that folder",
    ),
    _Foreign("a gzip file", _starts(b"\x1f\x8b"), (r"\.gz",), "Unpack it first: gunzip"),
    _Foreign("a pickle of scikit-learn or joblib", _is_sklearn, (r"\.joblib",), _SKLEARN_ADVICE),
    _Foreign("a plain Python pickle", _starts(b"\x80"), (r"\.pkl", r"\.pickle"), _PICKLE_ADVICE),
    _Foreign(
        "a Flax msgpack file",
        _never,
        (r"\.msgpack",),
        "Restore it with flax.serialization.msgpack_restore and save the arrays as .npz",
    ),
    _Foreign(
        "a list of shards or a configuration",
        _never,
        (r"\.json",),
        "Give the folder that it lies in",
    ),
)
