"""Why an exported graph can't become a model, all reasons in one message."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from jgaprune.converters.aten import OPERATORS
from jgaprune.converters.errors import ConversionError
from jgaprune.converters.exported.nodes import operator_name
from jgaprune.converters.exported.sizes import SIZE_OPERATORS

_RANDOM = ("bernoulli", "dropout", "multinomial", "normal", "poisson", "rand", "uniform")
_BATCH_STATISTICS = ("batch_norm",)
_BY_VALUE = ("_local_scalar_dense", "item", "masked_select", "nonzero", "unique")
_VALUES_ONLY = ("adaptive_max_pool", "max_pool", "native_batch_norm")
"""Operators of which only the first result is computed."""


def refuse(exported: Any, needed: list[Any], prefix: str) -> None:
    """Raises ConversionError unless the needed nodes can be translated and change nothing."""
    faults = [*_changes(exported, prefix), *_operators(needed)]
    if faults:
        raise ConversionError("this module can't be converted: " + " ".join(faults))


def _changes(exported: Any, prefix: str) -> Iterator[str]:
    changed = exported.graph_signature.buffers_to_mutate.values()
    if names := sorted(name.removeprefix(prefix) for name in changed):
        yield (
            f"its forward pass changes {', '.join(names)} although it is in evaluation mode. "
            "Write it so that it only does in training (`if self.training:`)."
        )


def _operators(needed: list[Any]) -> Iterator[str]:
    counts = Counter(name for node in needed if (name := _missing(node)))
    random = {name for name in counts if any(word in name for word in _RANDOM)}
    by_batch = {n for n in set(counts) - random if any(word in n for word in _BATCH_STATISTICS)}
    by_value = {n for n in set(counts) - random - by_batch if n.startswith(_BY_VALUE)}
    if random:
        yield (
            f"it draws random numbers in evaluation mode ({_listed(counts, random)}): dropout must "
            "follow `self.training`."
        )
    if by_batch:
        yield (
            f"it normalises with statistics of the batch ({_listed(counts, by_batch)}), so that an "
            "input's logits depend on the others: give its batch-norm layers running statistics."
        )
    if by_value:
        yield (
            f"shapes depend on values ({_listed(counts, by_value)}): write it with torch.where and "
            "masks."
        )
    if missing := set(counts) - random - by_batch - by_value:
        yield (
            f"there is no JAX function for {_listed(counts, missing)}. Write these with other "
            "operators, pass the part of the module without them, or add them to "
            "`jgaprune.converters.aten`, a function and a line in a table each."
        )


def _missing(node: Any) -> str:
    """The operator of a node if it has no function, or none for this use; else nothing."""
    name = operator_name(node)
    if not name or name in SIZE_OPERATORS:
        return _missing_result(node) if name == "getitem" else ""
    if name not in OPERATORS:
        return name
    if name.startswith("scaled_dot_product") and any(_dropout(node)):
        return f"dropout in {name}"
    indices = node.args[1] if name.startswith("index") and len(node.args) > 1 else ()
    if isinstance(indices, list | tuple) and any(map(_is_bool, indices)):
        return f"{name} with a boolean index"
    return ""


def _missing_result(node: Any) -> str:
    source = operator_name(node.args[0])
    if node.args[1] > 0 and any(word in source for word in _VALUES_ONLY):
        return f"result {node.args[1]} of {source}"
    return ""


def _dropout(node: Any) -> Iterator[bool]:
    yield len(node.args) > 4 and node.args[4] != 0
    yield node.kwargs.get("dropout_p", 0) != 0


def _is_bool(index: Any) -> bool:
    meta = getattr(index, "meta", {})
    return str(getattr(meta.get("val"), "dtype", "")) in ("torch.bool", "torch.uint8")


def _listed(counts: Counter[str], names: set[str]) -> str:
    return ", ".join(f"{name} ({counts[name]})" for name in sorted(names))
