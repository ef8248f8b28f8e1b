"""`load`: a weight file and the name of its architecture become a `Model`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jgaprune.converters.catalog import find_architecture
from jgaprune.converters.errors import ConversionError, nearest
from jgaprune.converters.faults import explain_misfit
from jgaprune.converters.fit import Fit, fit, shapes_of
from jgaprune.converters.formats import read
from jgaprune.converters.guess import fitting_architectures, guess
from jgaprune.converters.leaves import to_leaf
from jgaprune.converters.models.architecture import Architecture, Config
from jgaprune.converters.names import known_names
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
      path: .pth, .pt, .th, .safetensors, .npz, or an Orbax folder.
      preprocessing: how stored images become inputs; by default what the architecture's
        well-known checkpoints were trained with.
      **arch_config: arguments of the architecture, such as `widths=(784, 300, 10)` of
        "mlp"; read off the file where not given.

    Returns:
      The model; `model.spec.tensors` says where each leaf came from.

    Raises:
      ConversionError: the architecture or an argument is unknown, or tensors are missing,
        unexpected or unsuitable; the message lists all of them and what to do.
      FormatError: the file can't be read.
    """
    source = read(path)
    if arch == "auto":
        arch, guessed = guess(source.tensors)
        arch_config = {**guessed, **arch_config}
    architecture = find_architecture(arch)
    known = known_names(source.tensors)
    config = _complete(architecture, architecture.infer(shapes_of(known)), arch_config)
    fitted = fit(architecture, config, known)
    if fitted.num_faults:
        fitting = [name for name, _ in fitting_architectures(known)]
        raise ConversionError(explain_misfit(fitted, str(path), fitting))
    model = Model.from_nnx(
        _filled(fitted, source.tensors),
        architecture.input_shape(config),
        name=arch,
        preprocessing=preprocessing or architecture.preprocessing,
    )
    spec = replace(
        model.spec,
        source=Source(str(Path(source.path).resolve()), source.format, source.sha256),
        tensors=fitted.tensors,
        config=tuple(sorted(config.items())),
    )
    return model._replace(spec=spec)


def _complete(architecture: Architecture, inferred: Config, given: Config) -> Config:
    """The arguments read off the file, with the given ones in their place.

    Raises:
      ConversionError: unknown names or values of another type, all of them.
    """
    faults = []
    config = dict(inferred)
    for name, value in given.items():
        value = tuple(value) if isinstance(value, list) else value
        if name not in inferred:
            faults.append(f"there is no {name!r}.{nearest(name, inferred)}")
        elif type(value) is not type(inferred[name]):
            kind = type(inferred[name]).__name__
            faults.append(f"{name} must be a {kind} such as {inferred[name]!r}, got {value!r}.")
        config[name] = value
    if faults:
        options = ", ".join(sorted(inferred))
        raise ConversionError(
            f"arguments of {architecture.name}: {' '.join(faults)} It takes: {options}."
        )
    return config


def _filled(fitted: Fit, tensors: dict[str, np.ndarray]) -> nnx.Module:
    """The module with the file's weights in place of its abstract arrays."""
    graph, state = nnx.split(fitted.module)
    paths, tree = jax.tree_util.tree_flatten_with_path(state)
    sources = dict(fitted.tensors)
    names = [leaf_name(path) for path, _ in paths]
    arrays = [to_leaf(tensors[sources[name].name], sources[name]) for name in names]
    leaves = [jnp.asarray(array.astype(np.float32)) for array in arrays]
    return nnx.merge(graph, jax.tree.unflatten(tree, leaves))
