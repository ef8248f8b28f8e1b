"""Names of weights in Keras files, as names of leaves.

For files that hold weights without a configuration: numbered weights are told by their shapes.
Keras's layouts are those of Flax, so that nothing is transposed.
"""

import re
from collections import defaultdict
from collections.abc import Mapping

from jgaprune.converters.keras.weights import is_weight
from jgaprune.converters.leaves import Shape

_LEAF_OF = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
_NUMBERED = re.compile(r"(.*?)/?vars/(\d+)")
_OLD = re.compile(r"(?:model_weights/)?(.+)/([^/:]+)(:0)?")


def keras_leaf_names(shapes: Mapping[str, Shape]) -> dict[str, str] | None:
    """Leaf names of a Keras file's weights; None if these are no names of a Keras file.

    The state of optimizers and random generators is left out.

    >>> keras_leaf_names({"layers/dense/vars/0": (4, 3), "layers/dense/vars/1": (3,)})
    {'layers/dense/vars/0': 'layers.dense.kernel', 'layers/dense/vars/1': 'layers.dense.bias'}
    """
    weights = [name for name in shapes if is_weight(name)]
    if weights and all(_NUMBERED.fullmatch(name) for name in weights):
        return _numbered({name: shapes[name] for name in weights})
    is_old = all(name.startswith("model_weights/") or name.endswith(":0") for name in weights)
    return {name: _old_name(name) for name in weights} if weights and is_old else None


def _numbered(shapes: dict[str, Shape]) -> dict[str, str]:
    layers: dict[str, list[str]] = defaultdict(list)
    for name in shapes:
        layers[name.rpartition("/")[0]].append(name)
    leaves = {}
    for layer, names in layers.items():
        kinds = _kinds([shapes[name] for name in names])
        path = layer.removesuffix("vars").replace("/", ".")
        for name, kind in zip(names, kinds, strict=True):
            leaves[name] = path + kind
    return leaves


def _kinds(shapes: list[Shape]) -> list[str]:
    """What the weights of one layer are, by their shapes; numbers where they don't tell."""
    first, rest = shapes[0], shapes[1:]
    if len(first) >= 2 and rest in ([], [first[-1:]]):
        return ["kernel", "bias"][: len(shapes)]
    if len(first) == 1 and all(shape == first for shape in rest):
        kinds = {2: ["scale", "bias"], 4: ["scale", "bias", "mean", "var"]}.get(len(shapes))
        return kinds or [f"vars.{index}" for index in range(len(shapes))]
    return [f"vars.{index}" for index in range(len(shapes))]


def _old_name(name: str) -> str:
    layer, kind, _ = _OLD.fullmatch(name).groups()  # type: ignore[union-attr]
    return f"{layer.replace('/', '.')}.{_LEAF_OF.get(kind, kind)}"
