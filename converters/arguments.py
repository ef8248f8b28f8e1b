"""Arguments of an architecture: those read off a file, and the given ones in their place."""

from typing import Any

from jgaprune.converters.errors import ConversionError, nearest
from jgaprune.converters.models.architecture import Architecture, Config


def complete(architecture: Architecture, inferred: Config, given: Config) -> Config:
    """The arguments read off the file, with the given ones in their place.

    Raises:
      ConversionError: unknown names, values of another type, or sizes that are not positive;
        the message lists all of them.
    """
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    faults = [fault for name, v in given.items() if (fault := _fault(name, v, inferred))]
    if faults:
        options = ", ".join(sorted(inferred))
        raise ConversionError(
            f"arguments of {architecture.name}: {' '.join(faults)} It takes: {options}."
        )
    return inferred | given


def contradicting(architecture: Architecture, inferred: Config, config: Config) -> list[str]:
    """Names of the arguments that say something else than the file."""
    told = inferred.keys() - set(architecture.assumed)
    return sorted(name for name in told if config[name] != inferred[name])


def _fault(name: str, value: Any, inferred: Config) -> str:
    """What is wrong with one given argument, or nothing."""
    if name not in inferred:
        return f"there is no {name!r}.{nearest(name, inferred)}"
    example = inferred[name]
    if type(value) is not type(example):
        kind = type(example).__name__
        return f"{name} must be a {kind} such as {example!r}, got {value!r}."
    sizes = {tuple: value, int: (value,)}.get(type(value), ())
    if all(type(size) is int and size > 0 for size in sizes):
        return ""
    wanted = "a tuple of positive ints" if type(value) is tuple else "a positive int"
    return f"{name} must be {wanted}, got {value!r}."
