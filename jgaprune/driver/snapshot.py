"""A run that is under way as arrays and a JSON document, and back.

The arrays are those of the search's state, of the best genome, of the history, and of the masks
that later stages began with: their spaces are built on these. Masks are packed in bits.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.driver.progression import Progression, Spent
from jgaprune.engine import Search, SearchState, readable
from jgaprune.masks import Layout
from jgaprune.report import History
from jgaprune.types import Masks, MaskSpace

Arrays = dict[str, np.ndarray]
_SERIES = ("evaluations", "best", "mean_fitness", "diversity", "accuracy")
_NUMBERS = ("start", "generation", "failures", "seconds", "stage", "best_stage")


class Found(NamedTuple):
    """What a checkpoint says of a run before its spaces are built again.

    Attributes:
      arrays: of the checkpoint.
      document: of the checkpoint.
      entries: the best masks at the beginning of each stage but the first.
    """

    arrays: Arrays
    document: dict[str, Any]
    entries: list[Masks]

    @property
    def stage(self) -> int:
        """The search that was at work."""
        return int(self.document["stage"])

    @property
    def best_stage(self) -> int:
        """The search whose space the best is of."""
        return int(self.document["best_stage"])


def pack(done: Progression) -> tuple[Arrays, dict[str, Any]]:
    """Arrays, which may still lie on the device, and JSON values.

    Args:
      done: whole; of several processes, all take part.
    """
    arrays = _leaves("state", readable(done.state)) | _leaves("best", done.genome)
    for index, masks in enumerate(done.entries):
        for number, mask in enumerate(masks.values()):
            arrays[f"entry.{index}.{number}"] = np.packbits(np.asarray(mask).ravel())
    for name in _SERIES:
        arrays[f"history.{name}"] = np.asarray(getattr(done.history, name), np.float64)
    document = {name: getattr(done, name) for name in _NUMBERS}
    return arrays, {**document, "before": list(done.before), "entries": len(done.entries)}


def find(arrays: Arrays, document: dict[str, Any], layout: Layout) -> Found:
    """The first look at a checkpoint."""
    entries = [
        {
            name: _unpacked(arrays[f"entry.{index}.{number}"], shape)
            for number, (name, shape) in enumerate(zip(layout.names, layout.shapes, strict=True))
        }
        for index in range(document["entries"])
    ]
    return Found(arrays, document, entries)


def unpack(found: Found, space: MaskSpace, search: Search, key: jax.Array) -> Progression:
    """The run as it was.

    Args:
      found: in a checkpoint.
      space: of the best.
      search: that was at work.
      key: of the kind that it was started with.

    Raises:
      ValueError: the checkpoint is of another search.
    """
    document = found.document
    rows = {name: found.arrays[f"history.{name}"] for name in _SERIES}
    history = History(
        evaluations=[int(count) for count in rows["evaluations"]],
        best=rows["best"].tolist(),
        mean_fitness=rows["mean_fitness"].tolist(),
        diversity=rows["diversity"].tolist(),
        accuracy=[(int(count), float(value)) for count, value in rows["accuracy"].reshape(-1, 2)],
    )
    genome = jax.eval_shape(space.sample, jax.random.key(0))
    restored = partial(_restored, found.arrays, impl=str(jax.random.key_impl(key)))
    state: SearchState = restored("state", search.outline(key), sizes_differ=search.staged)
    return Progression(
        space=space,
        genome=restored("best", genome),
        history=history,
        state=state,
        entries=found.entries,
        before=Spent(*document["before"]),
        whole=True,
        **{name: document[name] for name in _NUMBERS},
    )


def _leaves(prefix: str, tree: Any) -> dict[str, Any]:
    leaves = jax.tree.leaves(tree)
    return {f"{prefix}.{index}": _plain(leaf) for index, leaf in enumerate(leaves)}


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _restored(
    arrays: Arrays, prefix: str, outline: Any, *, impl: str, sizes_differ: bool = False
) -> Any:
    """A tree of arrays like an outline; in staged searches populations may have another size."""
    outlines, tree = jax.tree.flatten(outline)
    found = [arrays[name] for name in arrays if name.startswith(f"{prefix}.")]
    found = [arrays[f"{prefix}.{index}"] for index in range(len(found))]
    if len(found) != len(outlines):
        raise ValueError(f"it holds {len(found)} arrays of its {prefix}, not {len(outlines)}")
    leaves = [
        jax.random.wrap_key_data(jnp.asarray(array), impl=impl)
        if _is_key(one)
        else jnp.asarray(array)
        for array, one in zip(found, outlines, strict=True)
    ]
    for leaf, one in zip(leaves, outlines, strict=True):
        same = leaf.ndim == len(one.shape) if sizes_differ else leaf.shape == one.shape
        if not same or leaf.dtype != one.dtype:
            raise ValueError(
                f"its {prefix} has {leaf.dtype} {list(leaf.shape)} where {one.dtype} "
                f"{list(one.shape)} is expected"
            )
    return jax.tree.unflatten(tree, leaves)


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
    count = int(np.prod(shape))
    return jnp.asarray(np.unpackbits(bits, count=count).reshape(shape).astype(bool))
