"""`load`: a weight file and the name of its architecture become a `Model`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jgaprune.converters.arguments import complete, contradicting
from jgaprune.converters.catalog import find_architecture
from jgaprune.converters.errors import ConversionError
from jgaprune.converters.faults import explain_misfit
from jgaprune.converters.fit import Fit, fit, shapes_of
from jgaprune.converters.formats import SourceFile, read
from jgaprune.converters.guess import fitting_architectures, guess
from jgaprune.converters.leaves import to_leaf
from jgaprune.converters.names import known_names
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
      arch: a name of `list_models()`, or "auto" to recognise the file.
      path: .pth, .pt, .th, .safetensors, .npz, .bin of llama2.c, or an Orbax folder.
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
    source = read(path)
    refuse_quantised(source.tensors)
    if arch == "auto":
        arch, guessed = guess(source.tensors)
        arch_config = {**guessed, **arch_config}
    architecture = find_architecture(arch)
    known = known_names(source.tensors)
    inferred = architecture.infer(shapes_of(known))
    config = complete(architecture, inferred, arch_config)
    fitted = fit(architecture, config, known)
    if fitted.num_faults:
        fitting = [name for name, _ in fitting_architectures(known)]
        wrong = contradicting(architecture, inferred, config)
        raise ConversionError(explain_misfit(fitted, str(path), fitting, wrong))
    model = Model.from_nnx(
        _filled(fitted, source),
        architecture.input_shape(config),
        name=arch,
        preprocessing=preprocessing or architecture.preprocessing,
        vocabulary=architecture.vocabulary(config),
    )
    spec = replace(
        model.spec,
        source=Source(str(Path(source.path).resolve()), source.format, source.sha256),
        tensors=fitted.tensors,
        config=tuple(sorted(config.items())),
    )
    return model._replace(spec=spec)


def _filled(fitted: Fit, source: SourceFile) -> nnx.Module:
    """The module with the file's weights in place of its abstract arrays."""
    graph, state = nnx.split(fitted.module)
    paths, tree = jax.tree_util.tree_flatten_with_path(state)
    tensors = dict(fitted.tensors)
    ordered = [tensors[leaf_name(path)] for path, _ in paths]
    arrays = [_as_float32(to_leaf(source.tensors[tensor.name], tensor)) for tensor in ordered]
    _check_finite({t.name: array for t, array in zip(ordered, arrays, strict=True)}, source.path)
    return nnx.merge(graph, jax.tree.unflatten(tree, map(jnp.asarray, arrays)))


def _as_float32(array: np.ndarray) -> np.ndarray:
    """The array in float32; what is beyond its range becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32)


def _check_finite(arrays: dict[str, np.ndarray], path: str) -> None:
    """Raises ConversionError if any weight is no number to compute with; lists all tensors."""
    counts = {name: array.size - np.isfinite(array).sum() for name, array in arrays.items()}
    faults = [
        f"{count} of {arrays[name].size} values of {name} are NaN or infinite"
        for name, count in counts.items()
        if count
    ]
    if faults:
        raise ConversionError(
            f"{path} holds weights that float32 can't compute with: {'; '.join(faults)}. Save "
            "the weights of a training run that did not diverge, in the range of float32."
        )
