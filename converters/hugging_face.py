"""What the `config.json` of a Hugging Face folder says to `load`."""

from dataclasses import replace

from jgaprune.converters.catalog import ARCHITECTURES
from jgaprune.converters.errors import ConversionError
from jgaprune.converters.formats import SourceFile
from jgaprune.converters.models.architecture import Architecture, Config
from jgaprune.converters.models.hf_config import ANY_MODULE, arguments_from
from jgaprune.model import ModelSpec


def arch_told(source: SourceFile, arch: str) -> str:
    """The architecture that `config.json` names, or what was asked for where it names none.

    Raises:
      ConversionError: it names one that isn't known, or another one than asked for.
    """
    model_type = (source.config or {}).get("model_type")
    if model_type is None:
        return arch
    known = {a.hf.model_type: a.name for a in ARCHITECTURES if a.hf is not None}
    if model_type not in known:
        raise ConversionError(
            f"{source.path}: config.json has model_type {model_type!r}; folders are read of "
            f"{', '.join(sorted(known))}. {ANY_MODULE}"
        )
    if arch not in ("auto", known[model_type]):
        raise ConversionError(
            f"{source.path}: config.json has model_type {model_type!r}, which is "
            f'"{known[model_type]}" and not "{arch}". Load it as that, or as "auto".'
        )
    return known[model_type]


def arguments_told(source: SourceFile, architecture: Architecture) -> Config:
    """The arguments that `config.json` tells; none without one.

    Raises:
      ConversionError: what it says isn't understood.
    """
    config = source.config or {}
    if architecture.hf is None or config.get("model_type") is None:
        return {}
    return arguments_from(architecture.hf, config)


def told_by(source: SourceFile, spec: ModelSpec) -> ModelSpec:
    """The spec with names of the outputs and the first token of a text, where they are told."""
    config = source.config or {}
    start, labels = config.get("bos_token_id"), config.get("id2label")
    if type(start) is int and 0 <= start < (spec.vocabulary or 0):
        spec = replace(spec, start_token=start)
    if isinstance(labels, dict) and len(labels) == spec.num_outputs:
        names = tuple(str(labels.get(str(output), output)) for output in range(spec.num_outputs))
        spec = replace(spec, output_names=names)
    return spec
