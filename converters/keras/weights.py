"""Which array of a Keras file is which weight of which layer."""

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.formats import SourceFile
from jgaprune.converters.keras.graph import Graph, Layer
from jgaprune.converters.keras.network import KINDS
from jgaprune.converters.keras.support import FROM_KERAS
from jgaprune.converters.leaves import is_float

Names = dict[str, dict[str, str]]
"""By path of a layer and Keras's name of a weight: the array's name in the file."""


def find_weights(graph: Graph, source: SourceFile) -> Names:
    """The arrays of each layer.

    Raises:
      ConversionError: arrays are missing, left over or unsuitable; lists all of them.
    """
    listed = source.metadata.get("layers")
    layers: dict[str, list[str]] = listed if isinstance(listed, dict) else {}
    names: Names = {}
    faults, used = [], set()
    for layer in graph.layers.values():
        expected = KINDS[layer.class_name].weights(layer.config)
        found = [name for name in _own_arrays(layer, layers) if is_weight(name)]
        used |= set(found)
        if len(found) == len(expected):
            names[layer.path] = {w.name: n for w, n in zip(expected, found, strict=True)}
        else:
            wanted = ", ".join(weight.name for weight in expected) or "nothing"
            faults.append(f"{layer.path} needs {wanted}, the file has {len(found)} arrays for it")
    faults += _unsuitable(graph, names, source)
    rest = [n for own in layers.values() for n in own if n not in used and is_weight(n)]
    faults += [f"{name} belongs to no layer" for name in rest]
    if faults:
        raise ConversionError(
            f"{source.path}: its weights don't fit its configuration: {'; '.join(faults)}. "
            f"{FROM_KERAS}"
        )
    return names


def is_weight(name: str) -> bool:
    """Whether an array of a Keras file is part of the network: no optimizer, no random state.

    >>> is_weight("layers/dense/vars/0"), is_weight("optimizer/vars/0")
    (True, False)
    """
    return "seed_generator" not in name and not name.startswith("optimizer")


def _own_arrays(layer: Layer, layers: dict[str, list[str]]) -> list[str]:
    """Names of a layer's arrays in any layout of files."""
    for top in ("layers", "_layer_checkpoint_dependencies"):
        path = "/".join(part for place in layer.place for part in (top, place))
        if path in layers:
            return layers[path]
    if layer.path in layers:
        return layers[layer.path]
    # Older files list the weights of all layers of an inner model as those of the model.
    outer, *inner = layer.path.split("/")
    of_model = layers.get(outer, []) if inner else []
    return [name for name in of_model if name.split("/")[-2] == inner[-1]]


def _unsuitable(graph: Graph, names: Names, source: SourceFile) -> list[str]:
    faults = []
    for path, own in names.items():
        layer = graph.layers[path]
        for weight in KINDS[layer.class_name].weights(layer.config):
            array = source.tensors[own[weight.name]]
            has_axes = weight.num_axes in (None, array.ndim) and array.size > 0
            if weight.leaf and not (has_axes and is_float(array.dtype)):
                axes = "" if weight.num_axes is None else f" of {weight.num_axes} axes"
                came = f"{array.dtype} {list(array.shape)}"
                faults.append(f"{own[weight.name]}: expected floats{axes}, got {came}")
    return faults
