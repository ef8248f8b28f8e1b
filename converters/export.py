"""Back to the source: pruned weights and masks in the file's own names, layouts and dtypes.

Which tensor a leaf came from is in `ModelSpec.tensors`; everything else in the file, such as
counters of batch-norm layers, is copied from it. The files that come of it are written by
`targets`.
"""

import os

import jax.numpy as jnp
import numpy as np

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.formats import FormatError, SourceFile, read
from jgaprune.converters.leaves import Shape, describe_leaf, from_leaf, is_float, to_leaf
from jgaprune.model import Model, Source, SourceTensor
from jgaprune.types import Buffers, Masks, Params


def to_source(model: Model, params: Params, buffers: Buffers) -> dict[str, np.ndarray]:
    """All tensors of the source file, with the given weights in place of its own.

    Values that float32 did not change come back bit for bit, whatever the source's dtype.

    Args:
      model: as loaded. Of one that no file was read for, every leaf comes back as the tensor that
        it was made from (`from_torch`) or would be in a PyTorch file; if that is not known, with
        its own name and layout.
      params: for example pruned and repaired ones, by leaf name.
      buffers: the same for running statistics.

    Returns:
      Arrays by the source's exact names, in its order.

    Raises:
      ConversionError: the source file is gone, unreadable or not the one that was loaded, or
        leaves are missing or misshapen.
    """
    leaves = {name: np.asarray(leaf) for name, leaf in {**params, **buffers}.items()}
    own = {**model.params, **model.buffers}
    _check("array", leaves, {name: leaf.shape for name, leaf in own.items()})
    if model.spec.source is None:
        return _described(leaves, model.spec.tensors)
    tensors = dict(_read_again(model.spec.source).tensors)
    for leaf, tensor in model.spec.tensors:
        changed = from_leaf(leaves[leaf], tensor)
        tensors[tensor.name] = _in_place(tensors[tensor.name], changed, tensor.name)
    # The others may be views of the file, which must not outlive this call.
    written = {tensor.name for _, tensor in model.spec.tensors}
    return {name: a if name in written else np.array(a) for name, a in tensors.items()}


def masks_to_source(model: Model, masks: Masks) -> dict[str, np.ndarray]:
    """Masks by the source's names, in its layouts; True where the weight stays.

    Tied tensors share a mask. Where no source is known, leaves keep their names and layouts.

    Raises:
      ConversionError: a mask belongs to no leaf or has another shape.
    """
    arrays = {leaf: np.asarray(mask, dtype=bool) for leaf, mask in masks.items()}
    shapes = {leaf: weights.shape for leaf, weights in model.params.items()}
    _check("mask", arrays, {leaf: shapes.get(leaf) for leaf in arrays})
    if not model.spec.tensors:
        return arrays
    pairs = [(leaf, tensor) for leaf, tensor in model.spec.tensors if leaf in arrays]
    return {tensor.name: from_leaf(arrays[leaf], tensor) for leaf, tensor in pairs}


def masks_from_source(model: Model, masks: dict[str, np.ndarray]) -> Masks:
    """Masks of the model's leaves from masks by the source's names, in its layouts.

    The inverse of `masks_to_source`, for starting from given masks.

    Raises:
      ConversionError: the masks are not those of the prunable tensors, or tied tensors have
        different ones.
    """
    tensors = _prunable_tensors(model)
    every = [tensor for tied in tensors.values() for tensor in tied]
    _check("mask", masks, {tensor.name: tensor.shape for tensor in every})
    leaves = {leaf: [to_leaf(masks[t.name], t) != 0 for t in ts] for leaf, ts in tensors.items()}
    split = [leaf for leaf, arrays in leaves.items() if not _all_equal(arrays)]
    if split:
        names = "; ".join(" and ".join(t.name for t in tensors[leaf]) for leaf in split)
        raise ConversionError(f"tied tensors must have equal masks, these have not: {names}.")
    return {leaf: jnp.asarray(arrays[0]) for leaf, arrays in leaves.items()}


def _prunable_tensors(model: Model) -> dict[str, list[SourceTensor]]:
    """Of each prunable leaf the tensors that it came from: several if they are tied."""
    prunable = model.spec.prunable
    if not model.spec.tensors:
        shapes = {leaf: model.params[leaf].shape for leaf in prunable}
        return {leaf: [describe_leaf(leaf, shapes[leaf], "float32")] for leaf in prunable}
    return {leaf: [t for name, t in model.spec.tensors if name == leaf] for leaf in prunable}


def _described(
    leaves: dict[str, np.ndarray], tensors: tuple[tuple[str, SourceTensor], ...]
) -> dict[str, np.ndarray]:
    """Leaves as the tensors that they came from, tied ones under each of their names."""
    if not tensors:
        return leaves
    return {
        tensor.name: _converted(
            from_leaf(leaves[leaf], tensor), np.dtype(tensor.dtype), tensor.name
        )
        for leaf, tensor in tensors
    }


def _all_equal(arrays: list[np.ndarray]) -> bool:
    return all(np.array_equal(arrays[0], other) for other in arrays[1:])


def _check(what: str, arrays: dict[str, np.ndarray], shapes: dict[str, Shape | None]) -> None:
    """Raises ConversionError unless there is an array for each shape; lists all faults."""
    faults = [f"no {what} for {name}" for name in shapes if name not in arrays]
    for name, array in arrays.items():
        expected = shapes.get(name)
        if expected is None:
            faults.append(f"{name}: the model has no such weights")
        elif array.shape != tuple(expected):
            faults.append(f"{name}: expected {list(expected)}, got {list(array.shape)}")
    if faults:
        raise ConversionError(
            f"these are not the arrays of this model ({len(faults)} faults): {'; '.join(faults)}."
        )


def _read_again(source: Source) -> SourceFile:
    """The file that the model was loaded from, unchanged since."""
    if not os.path.exists(source.path):
        raise ConversionError(
            f"{source.path} is gone: the tensors that the model doesn't hold are in it alone. "
            "Put the file back, or write the leaves themselves."
        )
    try:
        again = read(source.path)
    except FormatError as error:
        raise ConversionError(
            f"{error}. It could be read when the model was loaded: put the old file back, or "
            "write the leaves themselves."
        ) from error
    if again.sha256 != source.sha256:
        raise ConversionError(
            f"{source.path} has changed since it was loaded (sha256 {again.sha256[:12]}, it was "
            f"{source.sha256[:12]}). Put the old file back, or load and prune the new one."
        )
    return again


def _in_place(source: np.ndarray, changed: np.ndarray, name: str) -> np.ndarray:
    """`changed` in the source's dtype; where it equals the source in float32, the source."""
    converted = _converted(changed, source.dtype, name)
    with np.errstate(over="ignore"):
        unchanged = source.astype(np.float32) == changed
    return np.where(unchanged, source, converted)


def _converted(changed: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """The array in the source's dtype, if that has values as large."""
    if not is_float(changed.dtype):
        return changed.astype(dtype)
    with np.errstate(over="ignore"):
        converted = changed.astype(dtype)
    if not np.array_equal(np.isfinite(converted), np.isfinite(changed)):
        largest = np.max(np.abs(changed))
        raise ConversionError(
            f"{name}: the value {largest:g} is too large for the source's {dtype}. "
            "Write the leaves themselves, in float32."
        )
    return converted
