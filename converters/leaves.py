"""The leaf rule: how one PyTorch tensor becomes one Flax leaf, and back.

| leaf | tensor | axes |
|---|---|---|
| `kernel` of a convolution | `weight` | OI(spatial) to (spatial)IO |
| `kernel` of a dense layer | `weight` | (out, in) to (in, out) |
| `kernel` after a flatten | `weight` | inputs reordered from C, H, W to H, W, C as well |
| `scale`, `embedding` | `weight` | |
| `mean`, `var` | `running_mean`, `running_var` | |
| anything else | same name | |

Dense layers that an architecture names are stored (in, out) already, as GPT-2's are. Which
tensors a file needs is in `fit`.
"""

import ml_dtypes
import numpy as np

from jgaprune.model import SourceTensor

_TENSOR_OF_LEAF = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
Shape = tuple[int, ...]


def tensor_name(leaf_name: str) -> str:
    """PyTorch's name for a leaf.

    >>> tensor_name("layer1.0.bn1.mean")
    'layer1.0.bn1.running_mean'
    """
    layer, _, kind = leaf_name.rpartition(".")
    kind = _TENSOR_OF_LEAF.get(kind, kind)
    return f"{layer}.{kind}" if layer else kind


def is_leaf_name(name: str) -> bool:
    """Whether only Flax, not PyTorch, would name a tensor like this.

    >>> is_leaf_name("conv1.kernel"), is_leaf_name("conv1.weight")
    (True, False)
    """
    return name.rpartition(".")[2] in _TENSOR_OF_LEAF


def leaf_axes(leaf_name: str, num_axes: int, *, as_in_flax: bool = False) -> tuple[int, ...]:
    """Permutation from PyTorch's axes to the leaf's."""
    if as_in_flax or not leaf_name.endswith("kernel"):
        return tuple(range(num_axes))
    return (*range(2, num_axes), 1, 0)


def tensor_shape(leaf_name: str, shape: Shape, *, as_in_flax: bool = False) -> Shape:
    """Shape of the PyTorch tensor that becomes a leaf of shape `shape`.

    Args:
      leaf_name: the leaf.
      shape: its shape.
      as_in_flax: whether the file has the leaf's own axes.

    >>> tensor_shape("conv1.kernel", (3, 3, 16, 32))
    (32, 16, 3, 3)
    """
    axes = leaf_axes(leaf_name, len(shape), as_in_flax=as_in_flax)
    return tuple(shape[axes.index(axis)] for axis in range(len(shape)))


def describe_tensor(
    leaf_name: str,
    name: str,
    shape: Shape,
    dtype: str,
    flattened: tuple[int, int, int] | None,
    *,
    as_in_flax: bool = False,
) -> SourceTensor:
    """How the tensor `name` in PyTorch's layout becomes a leaf.

    Args:
      leaf_name: the leaf.
      name: the tensor's name in the file.
      shape: its shape.
      dtype: its dtype.
      flattened: channels, height and width of the feature maps that a dense layer reads
        flattened, else None.
      as_in_flax: whether the file has the leaf's own axes.
    """
    split = shape if flattened is None else (shape[0], *flattened)
    axes = leaf_axes(leaf_name, len(split), as_in_flax=as_in_flax)
    return SourceTensor(name, shape, dtype, axes, split)


def describe_leaf(name: str, shape: Shape, dtype: str) -> SourceTensor:
    """How a tensor that is in Flax layout already becomes a leaf: unchanged."""
    return SourceTensor(name, shape, dtype, tuple(range(len(shape))), shape)


def to_leaf(array: np.ndarray, tensor: SourceTensor) -> np.ndarray:
    """The leaf from the source's array; dtype as it is.

    >>> to_leaf(np.ones((5, 2)), SourceTensor("w", (5, 2), "float64", (1, 0), (5, 2))).shape
    (2, 5)
    """
    moved = array.reshape(tensor.split).transpose(tensor.axes)
    if len(tensor.split) > len(tensor.shape):
        moved = moved.reshape(-1, tensor.shape[0])
    return np.asarray(moved, order="C")


def from_leaf(leaf: np.ndarray, tensor: SourceTensor) -> np.ndarray:
    """The source's layout from a leaf; dtype as it is. The inverse of `to_leaf`."""
    moved = leaf.reshape([tensor.split[axis] for axis in tensor.axes])
    return np.asarray(moved.transpose(np.argsort(tensor.axes)).reshape(tensor.shape), order="C")


def is_float(dtype: np.dtype) -> bool:
    """Whether weights can have this dtype: a real float, bfloat16 and float8 included."""
    try:
        return ml_dtypes.finfo(dtype).bits > 0 and dtype.kind != "c"
    except ValueError:
        return False
