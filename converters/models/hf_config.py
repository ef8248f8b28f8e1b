"""What a Hugging Face `config.json` says of a network, where no tensor does.

An architecture names the keys that become its arguments, and those that must have certain values
because it computes nothing else. Keys and their defaults are those of transformers' configuration
classes (https://huggingface.co/docs/transformers).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jgaprune.converters.errors import ConversionError

Arguments = dict[str, Any]


class Told(NamedTuple):
    """How `config.json` says one argument.

    Attributes:
      keys: of which the first that is there counts; dots lead into objects.
      default: of transformers, where none is there; it gives the type, too.
      convert: what the argument is, of what is said.
    """

    keys: tuple[str, ...]
    default: Any
    convert: Callable[[Any], Any] = lambda value: value


def _no_faults(config: dict[str, Any]) -> list[str]:
    return []


class HfConfig(NamedTuple):
    """What to look for in `config.json`.

    Attributes:
      model_type: that the architecture is.
      arguments: by the architecture's names.
      required: values that are understood, by key; a key that is missing is no fault.
      derive: of the arguments that are told, all of them.
      faults: what else of the whole `config.json` isn't understood.
    """

    model_type: str
    arguments: dict[str, Told]
    required: dict[str, tuple[Any, ...]]
    derive: Callable[[Arguments], Arguments] = lambda arguments: arguments
    faults: Callable[[dict[str, Any]], list[str]] = _no_faults


def arguments_from(hf: HfConfig, config: dict[str, Any]) -> Arguments:
    """The arguments that `config.json` tells.

    Args:
      hf: what to look for.
      config: the parsed `config.json`.

    Raises:
      ConversionError: values of the wrong type, or that the architecture doesn't compute; the
        message lists all of them.
    """
    found = {name: _value(config, told.keys, told.default) for name, told in hf.arguments.items()}
    faults = [
        f"{told.keys[-1]} is {found[name]!r}, expected {_kind(told.default)}"
        for name, told in hf.arguments.items()
        if not _is_like(found[name], told.default)
    ]
    for key, understood in hf.required.items():
        value = _value(config, (key,), understood[0])
        if value not in understood:
            choices = " or ".join(map(repr, understood))
            faults.append(f"{key} is {value!r}, only {choices} is understood")
    if faults := faults + hf.faults(config):
        raise ConversionError(
            f"config.json describes a {hf.model_type} that is not this one: {'; '.join(faults)}. "
            f"{ANY_MODULE}"
        )
    arguments = {
        name: told.convert(type(told.default)(found[name])) for name, told in hf.arguments.items()
    }
    return hf.derive(arguments)


ANY_MODULE = (
    "Build the network with transformers and use "
    "jgaprune.converters.from_torch(module, example_inputs)."
)
"""What works for every other network."""


def _value(config: dict[str, Any], keys: tuple[str, ...], default: Any) -> Any:
    """What the first key that is there says; null is as good as nothing."""
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return default


def _is_like(value: Any, default: Any) -> bool:
    """Whether it has the default's type, and is no number below zero."""
    if isinstance(default, float):
        return type(value) in (int, float) and 0 < value < float("inf")
    return type(value) is type(default) and not (type(value) is int and value < 0)


def _kind(default: Any) -> str:
    return f"a {type(default).__name__} such as {default!r}"
