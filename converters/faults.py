"""What to say when a file doesn't fit: everything that is wrong, in one message."""

import difflib

import numpy as np

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.fit import Fit
from jgaprune.converters.leaves import Shape

_MOST_COMPARISONS = 20_000


def explain_misfit(fit: Fit, path: str, fitting: list[str], contradicting: list[str]) -> str:
    """All that keeps the file at `path` from being loaded as `fit.name`.

    Args:
      fit: of the file to the architecture asked for.
      path: the file.
      fitting: names of the architectures that the file does fit, with what it tells itself.
      contradicting: names of given arguments that differ from what the file tells.
    """
    counts = f"{len(fit.missing)} missing, {len(fit.unexpected)} unexpected, "
    counts += f"{len(fit.unsuitable)} unsuitable tensors."
    return "\n".join(
        [
            f"{path} does not fit {fit.name}: {counts}",
            *_section("missing", _missing_lines(fit)),
            *_section("unexpected", [_with_shape(*fault) for fault in fit.unexpected]),
            *_section("unsuitable", [f"{n}: expected {e}, got {g}" for n, e, g in fit.unsuitable]),
            _advice(fit, fitting, contradicting),
        ]
    )


def check_finite(arrays: dict[str, np.ndarray], path: str) -> None:
    """Raises ConversionError if any weight is no number to compute with; lists all tensors."""
    counts = {name: array.size - np.isfinite(array).sum() for name, array in arrays.items()}
    faults = [
        f"{count} of {arrays[name].size} values of {name} are NaN or infinite"
        for name, count in counts.items()
        if count
    ]
    if faults:
        raise ConversionError(
            f"{path} holds weights that float32 can't compute with: {'; '.join(faults)}. Save "
            "the weights of a training run that did not diverge, in the range of float32."
        )


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"{title} ({len(lines)}):", *(f"  {line}" for line in lines)] if lines else []


def _missing_lines(fit: Fit) -> list[str]:
    """Missing tensors, each with the most similar name that has no place."""
    shapes = dict(fit.unexpected)
    comparable = len(fit.missing) * len(shapes) <= _MOST_COMPARISONS
    lines = []
    for name, shape in fit.missing:
        close = difflib.get_close_matches(name, shapes, n=1) if comparable else []
        hint = f" (nearest in the file: {_with_shape(close[0], shapes[close[0]])})" if close else ""
        lines.append(_with_shape(name, shape) + hint)
    return lines


def _with_shape(name: str, shape: Shape) -> str:
    return f"{name} {list(shape)}"


def _advice(fit: Fit, fitting: list[str], contradicting: list[str]) -> str:
    if fit.name in fitting:
        return f'The file fits "{fit.name}" if you leave out: {", ".join(contradicting)}.'
    if fitting:
        names = " or ".join(f'"{name}"' for name in fitting)
        return f'The file fits {names}: load that, or arch="auto".'
    if not (fit.missing or fit.unexpected):
        return "Save floating-point weights of these shapes, or change the options."
    return (
        "No known architecture fits. Rename the tensors, choose another architecture "
        "(jgaprune.converters.list_models()), or build the network in Flax and use "
        "Model.from_nnx."
    )
