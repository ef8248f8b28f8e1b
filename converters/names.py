"""Names in a file, and the names an architecture knows them by.

Training code wraps models, and each wrapper leaves a prefix (`module.` of DataParallel,
`_orig_mod.` of torch.compile). Files that we wrote ourselves hold Flax leaf names instead of
PyTorch's. Both are undone here; the exact name stays with the tensor.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.keras.names import keras_leaf_names
from jgaprune.converters.leaves import Shape, is_leaf_name, tensor_name, tensor_shape

WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.", "state_dict.")
_COLLECTIONS = ("params.", "buffers.")
_UNUSED = "num_batches_tracked"


class FileTensor(NamedTuple):
    """One tensor of a file.

    Attributes:
      name: exactly as in the file.
      shape: in PyTorch's layout.
      array: as in the file.
      is_leaf: whether the array is in Flax layout already.
    """

    name: str
    shape: Shape
    array: np.ndarray
    is_leaf: bool


def known_names(tensors: dict[str, np.ndarray]) -> dict[str, FileTensor]:
    """The tensors of a file by PyTorch's names, without wrapper prefixes, in the file's order.

    Counters of batch-norm layers (`num_batches_tracked`) and what only training needs in Keras
    files take no part and are left out.

    Raises:
      ConversionError: several tensors have one name then; the message lists all of them.

    >>> list(known_names({"module.fc.weight": np.ones((2, 3)), "module.fc.bias": np.ones(2)}))
    ['fc.weight', 'fc.bias']
    """
    plain = keras_leaf_names({name: array.shape for name, array in tensors.items()})
    if plain is None:
        plain = {name: name.replace("/", ".").removesuffix(".value") for name in tensors}
    plain = _without_prefixes(plain)
    pairs = [
        _file_tensor(exact, name, tensors[exact])
        for exact, name in plain.items()
        if not name.endswith(_UNUSED)
    ]
    known = dict(pairs)
    if len(known) < len(pairs):
        raise ConversionError(_explain_clashes(pairs))
    return known


def natural_order(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key under which numbers inside names count as numbers.

    >>> sorted(["fc10.weight", "fc2.weight"], key=natural_order)
    ['fc2.weight', 'fc10.weight']
    """
    parts = re.findall(r"\d+|\D+", name)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def _without_prefixes(plain: dict[str, str]) -> dict[str, str]:
    """Removes prefixes common to all names, and the collections' names of our own files."""
    names = plain.values()
    while prefix := next((p for p in WRAPPERS if _all_start_with(names, (p,))), None):
        plain = {exact: name.removeprefix(prefix) for exact, name in plain.items()}
        names = plain.values()
    if _all_start_with(names, _COLLECTIONS):
        plain = {exact: name.partition(".")[2] for exact, name in plain.items()}
    return plain


def _all_start_with(names: Collection[str], prefixes: tuple[str, ...]) -> bool:
    return len(names) > 0 and all(name.startswith(prefixes) for name in names)


def _file_tensor(exact: str, name: str, array: np.ndarray) -> tuple[str, FileTensor]:
    is_leaf = is_leaf_name(name)
    shape = tensor_shape(name, array.shape) if is_leaf else array.shape
    return tensor_name(name) if is_leaf else name, FileTensor(exact, shape, array, is_leaf)


def _explain_clashes(pairs: list[tuple[str, FileTensor]]) -> str:
    """Which tensors can't be told apart, `fc.weight` and `fc.kernel` for example."""
    exact = defaultdict(list)
    for name, tensor in pairs:
        exact[name].append(tensor.name)
    clashes = [f"{' and '.join(e)} ({name})" for name, e in exact.items() if len(e) > 1]
    return (
        f"tensors of different names stand for the same one: {'; '.join(clashes)}. Remove all "
        "but one of each from the file, or rename them."
    )
