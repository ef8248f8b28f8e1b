"""`load`: a weight file and the name of its architecture become a `Model`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from jgaprune.converters.arguments import complete, contradicting
from jgaprune.converters.catalog import KERAS, find_architecture
from jgaprune.converters.errors import ConversionError
from jgaprune.converters.faults import explain_misfit
from jgaprune.converters.fit import Fit, fit, infer, shapes_of
from jgaprune.converters.formats import SourceFile, read
from jgaprune.converters.guess import fitting_architectures, guess
from jgaprune.converters.hugging_face import arch_told, arguments_told, told_by
from jgaprune.converters.keras.load_keras import has_graph, load_keras
from jgaprune.converters.names import known_names
from jgaprune.converters.place import place
from jgaprune.converters.quantised import refuse_quantised
from jgaprune.model import Model, Preprocessing, Source
from jgaprune.model.forward import leaf_name


def load(
    arch: str,
    path: str | os.PathLike[str],
    *,
    preprocessing: Preprocessing | None = None,
    **arch_config: Any,
) -> Model:
    """Loads pre-trained weights as a model in evaluation mode, computing in float32.

    Args:
      arch: a name of `list_models()`, "keras" for the network that a .keras or .h5 file itself
        describes, or "auto" to recognise the file.
      path: .pth, .pt, .th, .safetensors, .npz, .keras, .h5 of Keras, .bin of llama2.c, an Orbax
        folder, or a folder of Hugging Face, whose `config.json` then tells the architecture and
        what no tensor does.
      preprocessing: how stored images become inputs; by default what the architecture's
        well-known checkpoints were trained with.
      **arch_config: arguments of the architecture, such as `widths=(784, 300, 10)` of
        "mlp"; where not given, read off the file, or assumed where no file tells
        (`assumed_arguments`).

    Returns:
      The model; `model.spec.tensors` says where each leaf came from.

    Raises:
      ConversionError: the architecture or an argument is unknown, tensors are missing,
        unexpected, unsuitable or quantised, or weights are NaN or infinite in float32; the
        message lists all of them and what to do.
      FormatError: the file can't be read.
    """
    source, asked = read(path), tuple(arch_config)
    refuse_quantised(source.tensors, source.config)
    if arch == KERAS or (arch == "auto" and has_graph(source)):
        return _sourced(load_keras(source, preprocessing=preprocessing, **arch_config), source)
    arch = arch_told(source, arch)
    if arch == "auto":
        arch, guessed = _guessed(source)
        arch_config = {**guessed, **arch_config}
    architecture = find_architecture(arch)
    known = known_names(source.tensors)
    by_config = arguments_told(source, architecture)
    inferred = infer(architecture, known) | by_config
    config = complete(architecture, inferred, arch_config)
    told = {*asked, *by_config, *architecture.told(shapes_of(known))}
    fitted = fit(architecture, config, known)
    if fitted.num_faults:
        fitting = [name for name, _ in fitting_architectures(known)]
        wrong = contradicting(architecture, inferred, config)
        raise ConversionError(explain_misfit(fitted, str(path), fitting, wrong))
    del known  # It holds the file's arrays, which are given back one by one.
    model = Model.from_nnx(
        _filled(fitted, source),
        architecture.input_shape(config),
        name=arch,
        preprocessing=preprocessing or architecture.preprocessing,
        vocabulary=architecture.vocabulary(config),
        padding=architecture.padding,
        start_token=architecture.start_token(config),
    )
    spec = replace(
        told_by(source, model.spec),
        tensors=fitted.tensors,
        config=tuple(sorted(config.items())),
        assumed=tuple(name for name in architecture.assumed if name not in told),
    )
    return _sourced(model._replace(spec=spec), source)


def _guessed(source: SourceFile) -> tuple[str, dict[str, Any]]:
    try:
        return guess(source.tensors)
    except ConversionError as error:
        if source.format != "hdf5":
            raise
        raise ConversionError(
            f"{source.path} holds weights and no configuration of a network, and they are those of "
            "no known architecture. Save the whole model in Keras, model.save('model.keras'), or "
            f"use from_keras. Shapes below are in the order of PyTorch.\n{error}"
        ) from error


def _sourced(model: Model, source: SourceFile) -> Model:
    """The model with the file that it came from."""
    path = str(Path(source.path).resolve())
    spec = replace(model.spec, source=Source(path, source.format, source.sha256))
    return model._replace(spec=spec)


def _filled(fitted: Fit, source: SourceFile) -> nnx.Module:
    """The module with the file's weights in place of its abstract arrays; empties the source."""
    graph, state = nnx.split(fitted.module)
    paths, tree = jax.tree_util.tree_flatten_with_path(state)
    tensors = dict(fitted.tensors)
    ordered = [tensors[leaf_name(path)] for path, _ in paths]
    return nnx.merge(graph, jax.tree.unflatten(tree, place(ordered, source.tensors, source.path)))
