"""A network from a Keras file alone: its configuration, interpreted here, and its weights.

Keras is not needed, and nothing of the file is executed: only layers of `network.KINDS` are
computed, by functions of this package.
"""

from dataclasses import replace

import jax
import numpy as np
from flax import nnx

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.formats import SourceFile
from jgaprune.converters.keras.graph import Graph, parse
from jgaprune.converters.keras.network import KINDS, KerasNetwork
from jgaprune.converters.keras.steps import steps_to_logits
from jgaprune.converters.keras.support import FROM_KERAS, check_supported
from jgaprune.converters.keras.weights import Names, find_weights
from jgaprune.converters.leaves import Shape
from jgaprune.converters.place import place
from jgaprune.model import Model, Preprocessing, SourceTensor
from jgaprune.model.forward import leaf_name

_TAKES_STORED_VALUES = ("Rescaling", "Normalization")


def has_graph(source: SourceFile) -> bool:
    """Whether a file says which network its weights belong to."""
    return source.format in ("keras", "hdf5") and "config" in source.metadata


def load_keras(
    source: SourceFile,
    *,
    input_shape: tuple[int, ...] = (),
    preprocessing: Preprocessing | None = None,
) -> Model:
    """The network that a `.keras` or `.h5` file describes, with its weights, in float32.

    A softmax or sigmoid at the very end is left out, so that outputs are logits; a single sigmoid
    output of logit `z` becomes the logits `(0, z)` of two classes.

    Args:
      source: the file.
      input_shape: of one input, where the file leaves it open.
      preprocessing: how stored images become inputs; by default uint8 images are divided by 255,
        unless the network begins with a layer that takes them as they are.

    Raises:
      ConversionError: the file has no configuration, layers or settings aren't supported, or
        weights are missing or unsuitable; the message lists all of them.
    """
    if not has_graph(source):
        raise ConversionError(
            f"{source.path} holds no configuration of a network. Save the whole model in Keras, "
            "model.save('model.keras'), or name the architecture: load('mlp', ...)."
        )
    graph = parse(source.metadata["config"])
    shape = _input_shape(graph, tuple(input_shape))
    check_supported(graph, source.path)
    names = find_weights(graph, source)
    try:
        network = nnx.eval_shape(lambda: _build(graph, names, source))
        tensors = _describe(network, graph, names, source)
        model = Model.from_nnx(
            _filled(network, tensors, source),
            shape,
            name="keras",
            preprocessing=preprocessing or _preprocessing(graph),
        )
    except ConversionError:
        raise
    # Layers that don't fit each other are found by JAX and Flax, in their own words.
    except (TypeError, ValueError) as error:
        raise ConversionError(
            f"{source.path} describes no network that computes on inputs of shape {list(shape)}: "
            f"{error}. {FROM_KERAS}"
        ) from error
    config = (("input_shape", shape),) if input_shape else ()
    spec = replace(model.spec, tensors=tuple(tensors.items()), config=config)
    return model._replace(spec=spec)


def _input_shape(graph: Graph, given: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one input: as saved, with the given sizes where it is open."""
    own = graph.input_shape
    shape = given or own
    if own != (None,) * len(own):
        agrees = len(own) == len(shape)
        agrees = agrees and all(o in (None, s) for o, s in zip(own, shape, strict=True))
    else:
        agrees = True
    if not agrees or not all(type(size) is int and size > 0 for size in shape):
        raise ConversionError(
            f"the model takes inputs of shape {list(own)} without the first axis; got input_shape="
            f"{list(given)}. Give a size for every None: load('keras', path, input_shape=(...))."
        )
    return tuple(size for size in shape if size is not None)


def _build(graph: Graph, names: Names, source: SourceFile) -> KerasNetwork:
    """The network with weights of its own; run abstractly."""
    rngs = nnx.Rngs(0)
    modules = {}
    for path, layer in graph.layers.items():
        build = KINDS[layer.class_name].build
        if build is not None:
            shapes = {weight: source.tensors[name].shape for weight, name in names[path].items()}
            modules[path] = build(layer.config, shapes, rngs)
    return KerasNetwork(modules, *steps_to_logits(graph))


def _describe(
    network: KerasNetwork, graph: Graph, names: Names, source: SourceFile
) -> dict[str, SourceTensor]:
    """Where each leaf comes from. Keras's layouts are Flax's, but for depthwise kernels."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.state(network))
    shapes = {leaf_name(path): tuple(leaf.shape) for path, leaf in leaves}
    tensors = {}
    for path, layer in graph.layers.items():
        for weight in KINDS[layer.class_name].weights(layer.config):
            if weight.leaf:
                leaf = f"layers.{path}.{weight.leaf}"
                name = names[path][weight.name]
                tensors[leaf] = _reshaped(name, source.tensors[name], shapes[leaf])
    return tensors


def _reshaped(name: str, array: np.ndarray, shape: Shape) -> SourceTensor:
    """The leaf is the array in another shape: kernels `(H, W, C, M)` are Flax's `(H, W, 1, C M)`.

    Raises:
      ConversionError: it has another number of values.
    """
    if array.size != np.prod(shape):
        raise ConversionError(f"{name}: expected {list(shape)}, got {list(array.shape)}.")
    return SourceTensor(name, array.shape, str(array.dtype), tuple(range(len(shape))), shape)


def _filled(
    network: KerasNetwork, tensors: dict[str, SourceTensor], source: SourceFile
) -> KerasNetwork:
    """The network with the file's weights in place of its abstract arrays; empties the source."""
    graph, state = nnx.split(network)
    paths, tree = jax.tree_util.tree_flatten_with_path(state)
    ordered = [tensors[leaf_name(path)] for path, _ in paths]
    return nnx.merge(graph, jax.tree.unflatten(tree, place(ordered, source.tensors, source.path)))


def _preprocessing(graph: Graph) -> Preprocessing:
    """Images divided by 255, unless a layer before all weights does such a thing."""
    for call in graph.calls:
        kind = graph.layers[call.layer].class_name
        if kind in _TAKES_STORED_VALUES:
            return Preprocessing(scale=1.0)
        if KINDS[kind].build is not None:
            break
    return Preprocessing()
