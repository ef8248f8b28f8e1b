"""Which dict of a checkpoint is the state_dict, and which plain values stand beside it."""

from typing import Any

from jgaprune.converters.formats.errors import FormatError
from jgaprune.converters.formats.tensor_refs import TensorRef

KEYS = ("state_dict", "model", "model_state_dict", "net", "params")
"""Keys under which training scripts keep the weights."""

_MAX_DEPTH = 4
_PLAIN = (bool, int, float, complex, str)


def select(root: Any) -> tuple[dict[str, TensorRef], dict[str, Any]]:
    """Find the weights in an unpickled checkpoint.

    Args:
      root: the value that was saved.

    Returns:
      The tensors under their exact names, and the plain values that stood in the same dict or
      in one around it; a 0-d tensor around it (as a best accuracy often is) stays a reference.

    Raises:
      FormatError: if there are no weights, or several dicts could be meant.
    """
    beside: dict[str, Any] = {}
    node = root
    for _ in range(_MAX_DEPTH):
        if type(node) is not dict:
            break
        candidates = [key for key in KEYS if key in node and _leads_to_tensors(node[key])]
        if len(candidates) > 1:
            raise FormatError(_ambiguity(candidates))
        if not candidates:
            return _weights(node), beside | _plain_values(node)
        beside |= _plain_values(node) | _scalar_tensors(node)
        node = node[candidates[0]]
    found = "tensor" if type(node) is TensorRef else type(node).__name__
    raise FormatError(
        f"holds a {found} where a state_dict is expected. Save one with "
        "torch.save(model.state_dict(), path)"
    )


def _weights(node: dict[Any, Any]) -> dict[str, TensorRef]:
    """The tensors of a state_dict; none may hide one level deeper."""
    tensors = {key: value for key, value in node.items() if type(value) is TensorRef}
    nested = [key for key, value in node.items() if _has_tensors(value)]
    if nested:
        raise FormatError(_ambiguity(nested))
    if not tensors:
        raise FormatError(
            f"holds no tensors, only {_listing(list(node))}. Save the weights with "
            "torch.save(model.state_dict(), path)"
        )
    if not all(type(key) is str for key in tensors):
        raise FormatError("has tensors under keys that are no names. Save a state_dict instead")
    return tensors


def _leads_to_tensors(value: Any) -> bool:
    """Whether a value is a state_dict, or a checkpoint that names one by a known key."""
    if type(value) is not dict:
        return False
    return _has_tensors(value) or any(_has_tensors(value.get(key)) for key in KEYS)


def _has_tensors(value: Any) -> bool:
    items = value.values() if type(value) is dict else value
    is_container = type(value) in (dict, list, tuple)
    return is_container and any(type(item) is TensorRef for item in items)


def _plain_values(node: dict[Any, Any]) -> dict[str, Any]:
    return {k: v for k, v in node.items() if type(k) is str and type(v) in _PLAIN}


def _scalar_tensors(node: dict[Any, Any]) -> dict[str, TensorRef]:
    def is_scalar(value: Any) -> bool:
        return type(value) is TensorRef and value.shape == ()

    return {k: v for k, v in node.items() if type(k) is str and is_scalar(v)}


def _ambiguity(keys: list[Any]) -> str:
    return (
        f"holds tensors under {_listing(keys)}, and which of them are the weights is unclear. "
        f"Save the right ones alone: torch.save(checkpoint[{str(keys[0])!r:.40}], path)"
    )


def _listing(keys: list[Any]) -> str:
    """Name at most eight keys."""
    shown = [f"{key!r:.40}" if type(key) is str else type(key).__name__ for key in keys[:8]]
    return ", ".join(shown) + (", ..." if len(keys) > 8 else "") if shown else "an empty dict"
