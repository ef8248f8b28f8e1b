"""Whether the tensors of a file fit an architecture, and which becomes which leaf.

Everything that doesn't fit is collected before anything is reported; the report itself is
written in `faults`.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
from flax import nnx

from jgaprune.converters.leaves import (
    Shape,
    describe_leaf,
    describe_tensor,
    is_float,
    tensor_name,
    tensor_shape,
)
from jgaprune.converters.models.architecture import Architecture, Config, Shapes
from jgaprune.converters.names import FileTensor
from jgaprune.converters.place import same_numbers
from jgaprune.model import SourceTensor
from jgaprune.model.forward import leaf_name


class Fit(NamedTuple):
    """What became of each leaf and each tensor.

    Attributes:
      name: the architecture's name.
      module: the network with abstract arrays.
      tensors: `(leaf name, SourceTensor)`; second names of one tensor come before the name
        that the architecture asks for.
      missing: `(tensor name, shape)` that the file lacks.
      unexpected: `(tensor name, shape)` that the architecture has no place for.
      unsuitable: `(tensor name, what is expected, what came)`: wrong shape or no floats.
    """

    name: str
    module: nnx.Module
    tensors: tuple[tuple[str, SourceTensor], ...]
    missing: tuple[tuple[str, Shape], ...]
    unexpected: tuple[tuple[str, Shape], ...]
    unsuitable: tuple[tuple[str, str, str], ...]

    @property
    def num_faults(self) -> int:
        """How many tensors stand in the way of loading."""
        return len(self.missing) + len(self.unexpected) + len(self.unsuitable)


def fit(architecture: Architecture, config: Config, tensors: dict[str, FileTensor]) -> Fit:
    """Finds the tensor for each leaf of `architecture`.

    Args:
      architecture: what the file is said to be.
      config: its arguments, complete.
      tensors: of the file, as from `known_names`.
    """
    module = nnx.eval_shape(lambda: architecture.build(config, _keys()))
    renamed = architecture.renamed(shapes_of(tensors))
    flattened = architecture.flattened(config)
    pairs, missing, unsuitable, used = [], [], [], {}
    for leaf, shape in leaf_shapes(module).items():
        name = renamed.get(tensor_name(leaf), tensor_name(leaf))
        in_flax = architecture.is_as_in_flax(leaf)
        expected = tensor_shape(leaf, shape, as_in_flax=in_flax)
        if name not in tensors:
            missing.append((name, expected))
            continue
        found = used[name] = tensors[name]
        if found.is_leaf:
            expected = tensor_shape(leaf, shape)
        if found.shape != expected or not is_float(found.array.dtype):
            came = f"{found.array.dtype} {list(found.shape)}"
            unsuitable.append((found.name, f"float {list(expected)}", came))
        else:
            reordered = flattened.get(leaf.rpartition(".")[0])
            pairs.append((leaf, _describe(leaf, found, reordered, in_flax)))
    left = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in used and not architecture.is_derived(name)
    }
    tied, unexpected = _split_tied(left, pairs, used)
    return Fit(
        architecture.name,
        module,
        (*tied, *pairs),
        tuple(missing),
        tuple((tensor.name, tensor.shape) for tensor in unexpected),
        tuple(unsuitable),
    )


def infer(architecture: Architecture, tensors: dict[str, FileTensor]) -> Config:
    """The arguments that the tensors tell; a head that equals the embedding is none of its own.

    Args:
      architecture: what the file is said to be.
      tensors: of the file, as from `known_names`.
    """
    shapes = shapes_of(tensors)
    head, embedding = architecture.tied(shapes) or ("", "")
    if (
        head in tensors
        and embedding in tensors
        and _same_weights(tensors[head], tensors[embedding])
    ):
        del shapes[head]
    return architecture.infer(shapes)


class _OneKey(nnx.RngStream):
    """Gives all layers one key: shapes don't depend on it, and to count is slow in a trace."""

    def __call__(self) -> jax.Array:
        return self.key[...]


def _keys() -> nnx.Rngs:
    keys = nnx.Rngs(0)
    keys.params = _OneKey(0, tag="params")  # type: ignore[attr-defined]
    return keys


def shapes_of(tensors: dict[str, FileTensor]) -> Shapes:
    """Shapes in PyTorch's layout, by PyTorch's names."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def leaf_shapes(module: nnx.Module) -> dict[str, Shape]:
    """Shapes of all arrays of a module, by leaf name."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.state(module))
    return {leaf_name(path): tuple(leaf.shape) for path, leaf in leaves}


def _describe(
    leaf: str, found: FileTensor, flattened: tuple[int, int, int] | None, in_flax: bool
) -> SourceTensor:
    """How `found` becomes `leaf`; only weights after a flatten are reordered."""
    dtype = str(found.array.dtype)
    if found.is_leaf:
        return describe_leaf(found.name, found.array.shape, dtype)
    if not leaf.endswith("kernel"):
        flattened = None
    return describe_tensor(leaf, found.name, found.shape, dtype, flattened, as_in_flax=in_flax)


def _split_tied(
    left: dict[str, FileTensor],
    pairs: list[tuple[str, SourceTensor]],
    used: dict[str, FileTensor],
) -> tuple[list[tuple[str, SourceTensor]], list[FileTensor]]:
    """Parts second names of tensors in use from tensors without a use.

    A second name holds the same weights. Vectors are not compared: two biases of zeros are
    no tie.
    """
    leaf_of = {tensor.name: (leaf, tensor) for leaf, tensor in pairs}
    tied, unexpected = [], []
    for tensor in left.values():
        twin = next((other for other in used.values() if _same_weights(tensor, other)), None)
        if twin is None or twin.name not in leaf_of:
            unexpected.append(tensor)
        else:
            leaf, description = leaf_of[twin.name]
            tied.append((leaf, replace(description, name=tensor.name)))
    return tied, unexpected


def _same_weights(tensor: FileTensor, other: FileTensor) -> bool:
    one, two = tensor.array, other.array
    if one.ndim < 2 or one.shape != two.shape or one.dtype != two.dtype:
        return False
    return same_numbers(one, two)
