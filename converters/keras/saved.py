"""Saved Keras models as JSON holds them, in the dialects of Keras 2 and Keras 3.

A member of a model is a dict with `class_name`, `config` and perhaps `module`, `name` and
`inbound_nodes`: the calls that were made of it. What the calls make of each other is in `graph`.
"""

import re
from collections.abc import Iterator
from typing import Any

Config = dict[str, Any]
Value = tuple[str, int]
"""An output: which call of which layer made it, as `name of the layer, number of the call`."""

_MODELS = {"Sequential", "Functional", "Model"}


def is_model(saved: Config) -> bool:
    """Whether a member is a model of Keras's own classes."""
    module = saved.get("module") or ""
    return saved.get("class_name") in _MODELS and str(module).split(".")[0] in ("", "keras")


def name_of(member: Config) -> str:
    """A member's name, unique in its model."""
    return str(member.get("name") or member["config"]["name"])


def snake_case(class_name: str) -> str:
    """Keras's name for a class in files of weights.

    >>> snake_case("DepthwiseConv2D"), snake_case("ReLU")
    ('depthwise_conv2d', 're_lu')
    """
    parted = re.sub(r"(.)([A-Z][a-z])", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def file_places(members: list[Config], outer: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What files of weights call each member, by its name, after what they call those around it.

    Members of one class are counted; names play no part: `("sequential_1", "dense_2")`.
    """
    counts: dict[str, int] = {}
    places = {name_of(member): outer for member in members}
    for member in members:
        if _is_layer(member):
            kind = snake_case(member["class_name"])
            count = counts[kind] = counts.get(kind, -1) + 1
            places[name_of(member)] = (*outer, f"{kind}_{count}" if count else kind)
    return places


def values_of(saved: Any) -> list[Value]:
    """The values that `["x", 0, 0]`, or a list or dict of such, stands for."""
    if isinstance(saved, dict):
        saved = list(saved.values())
    return [(name, int(call)) for name, call, *_ in _as_list(saved)]


def calls_of(members: dict[str, Config], outputs: list[Value]) -> dict[Value, list[Value]]:
    """What each call of each member takes.

    Calls are counted from 0, but from 1 if the member is a model, which has been called once
    when it was made; not every version does so.
    """
    made = {name: [_taken(call) for call in _calls(member)] for name, member in members.items()}
    meant = {*outputs, *(value for calls in made.values() for taken in calls for value in taken)}
    return {
        (name, index + (is_model(members[name]) and (name, len(calls)) in meant)): taken
        for name, calls in made.items()
        for index, taken in enumerate(calls)
    }


def constants(member: Config) -> list[Any]:
    """What the calls of a member take besides tensors; masks and modes that are off don't count.

    >>> constants({"inbound_nodes": [[["x", 0, 0, {"training": True, "mask": None}]]]})
    ['training=True']
    """
    found = []
    for call in _calls(member):
        if isinstance(call, dict):
            found += _other_than_tensors([call.get("args") or [], call.get("kwargs") or {}])
        else:
            found += _other_than_tensors([part[3] for part in _as_list(call) if len(part) > 3])
    return found


def _calls(member: Config) -> list[Any]:
    return member.get("inbound_nodes") or []


def _as_list(saved: Any) -> list[Any]:
    """Keras 2 leaves out the brackets around a single value."""
    return [saved] if saved and isinstance(saved[0], str) else saved


def _is_layer(member: Config) -> bool:
    """Operations on tensors, such as `x * 2`, are in the graph but are no layers."""
    return not str(member.get("module") or "").startswith("keras.src.ops")


def _taken(call: Any) -> list[Value]:
    """The values that a call takes."""
    if isinstance(call, dict):
        return list(_tensors([call.get("args", []), call.get("kwargs", {})]))
    return values_of(call)


def _tensors(saved: Any) -> Iterator[Value]:
    if _is_tensor(saved):
        name, call, _ = saved["config"]["keras_history"]
        yield name, int(call)
    elif isinstance(saved, dict | list):
        for part in saved.values() if isinstance(saved, dict) else saved:
            yield from _tensors(part)


def _other_than_tensors(saved: Any) -> list[Any]:
    if saved is None or saved is False or _is_tensor(saved):
        return []
    if isinstance(saved, list):
        return [found for part in saved for found in _other_than_tensors(part)]
    if not isinstance(saved, dict):
        return [saved]
    return [
        f"{key}={found}" for key, value in saved.items() for found in _other_than_tensors(value)
    ]


def _is_tensor(saved: Any) -> bool:
    return isinstance(saved, dict) and saved.get("class_name") == "__keras_tensor__"
