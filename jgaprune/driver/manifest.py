"""What a run's folder says of the call that began it, so that no other call goes on with it."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jgaprune.model import Model
from jgaprune.report.document import plain
from jgaprune.report.environment import device, versions

SCHEMA = 2
_SHOWN = 12


def manifest_of(
    model: Model, call: Mapping[str, Any], command: Mapping[str, object] | None
) -> dict[str, Any]:
    """The document.

    Args:
      model: the dense network.
      call: what decides the result: names, numbers and arrays; other objects count as "custom".
      command: of the program that began the run.
    """
    spec = model.spec
    return {
        "schema": SCHEMA,
        "run": uuid.uuid4().hex,
        "model": {
            "name": spec.name,
            "sha256": _digest(model),
            "source": plain(vars(spec.source)) if spec.source else None,
        },
        "call": {name: _described(value) for name, value in call.items()},
        "versions": versions(),
        "device": device(),
        "command": plain(command) if command is not None else None,
    }


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What another call or model would change, in words."""
    found = []
    if saved.get("schema") != now["schema"]:
        found.append(f"schema: {saved.get('schema')!r}, now {now['schema']!r}")
    for part, named in (("model", ("name", "sha256")), ("call", tuple(now["call"]))):
        before = saved.get(part) or {}
        for name in named:
            one, other = before.get(name), now[part][name]
            if one != other:
                found.append(f"{name if part == 'call' else f'model {name}'}: {_pair(one, other)}")
    return found


def changed_surroundings(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Versions and device that rounding depends on, where they are others."""
    found = []
    for part, names in (("versions", tuple(now["versions"])), ("device", ("kind", "processor"))):
        before = saved.get(part) or {}
        found += [
            f"{name} {_pair(before.get(name), now[part][name])}"
            for name in names
            if before.get(name) != now[part][name]
        ]
    return found


def _pair(one: object, other: object) -> str:
    return f"{_short(one)}, now {_short(other)}"


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    text = str(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return f"{text[:_SHOWN]}..." if is_digest else text


def _described(value: Any) -> Any:
    if isinstance(value, jax.Array | np.ndarray):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            return [
                str(jax.random.key_impl(value)),
                *np.asarray(jax.random.key_data(value)).tolist(),
            ]
        return _digest_of(value)
    if isinstance(value, Mapping):
        return {str(name): _described(one) for name, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_described(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value) if hasattr(value, "__dataclass_fields__") else "custom"


def _digest(model: Model) -> str:
    """Of weights, statistics and what is known of them, wherever they came from."""
    spec = replace(model.spec, source=None)
    return _digest_of(*jax.tree.leaves((model.params, model.buffers)), text=repr(spec))


def _digest_of(*arrays: Any, text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for one in arrays:
        array = np.ascontiguousarray(one)
        digest.update(repr((array.shape, str(array.dtype))).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
