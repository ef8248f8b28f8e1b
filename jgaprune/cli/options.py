"""Options that several commands share, and how their texts become values."""

import ast
from collections.abc import Callable
from typing import Any

import click

from jgaprune import converters
from jgaprune.agreement import is_first
from jgaprune.inputs.images import with_normalisation
from jgaprune.model import Model


def numbers(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, ...] | None:
    """A click callback: numbers separated by commas."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"expected numbers separated by commas, for example 0.5,0.5,0.5; got {text!r}."
        ) from None


def arguments(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, Any]:
    """A click callback: repeated `key=value` as a dict, values as Python literals or text."""
    pairs = [text.partition("=") for text in texts]
    if bad := [
        text for text, (key, equals, _) in zip(texts, pairs, strict=True) if not key or not equals
    ]:
        raise click.BadParameter(f"expected key=value, for example bias=False; got {bad[0]!r}.")
    return {key: _value(text) for key, _, text in pairs}


def architecture_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--arch` and `--arch-config`."""
    names = ", ".join(converters.list_models())
    command = click.option(
        "--arch-config",
        metavar="KEY=VALUE",
        multiple=True,
        callback=arguments,
        help="Argument of the architecture, where the file alone doesn't tell; may be repeated. "
        "Example: --arch-config widths=784,300,10",
    )(command)
    return click.option(
        "--arch",
        default="auto",
        show_default=True,
        help=f"Architecture of the weights, or auto to recognise them. Known: {names}.",
    )(command)


def normalisation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--mean` and `--std`."""
    command = click.option(
        "--std",
        metavar="A[,B,C]",
        callback=numbers,
        help="What is left is divided by this, per channel.  [default: the architecture's own]",
    )(command)
    return click.option(
        "--mean",
        metavar="A[,B,C]",
        callback=numbers,
        help="Subtracted from uint8 images once they are scaled to 0..1, per channel.  [default: "
        "the architecture's own]",
    )(command)


def load_model(
    arch: str,
    weights: str,
    config: dict[str, Any],
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Model:
    """The model in a weight file, with other normalisation where given; says what it assumed.

    Raises:
      ValueError: the file can't be read or doesn't fit, or the normalisation doesn't.
    """
    model = converters.load(arch, weights, **config)
    if is_first():
        tell_assumed(model)
    return model._replace(spec=with_normalisation(model.spec, mean, std))


def tell_assumed(model: Model) -> None:
    """Says on stderr which arguments neither the source nor the user told."""
    if model.spec.assumed:
        values = dict(model.spec.config)
        told = ", ".join(f"{name}={values[name]}" for name in model.spec.assumed)
        click.echo(
            f"jgaprune: assumed, since weights don't tell: {told}. If that is wrong, use "
            "--arch-config.",
            err=True,
        )


def _value(text: str) -> Any:
    """A Python literal, or else the text itself.

    >>> _value("784,300,10"), _value("false"), _value("relu")
    ((784, 300, 10), False, 'relu')
    """
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
