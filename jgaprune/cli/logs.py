"""`--log`: where else a run is written down."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click

from jgaprune import telemetry

_SERVICES: dict[str, Callable[[str], telemetry.Log]] = {
    "tensorboard": telemetry.tensorboard,
    "wandb": telemetry.wandb,
    "mlflow": telemetry.mlflow,
}
_FILES = "sqlite:///"


class Target(NamedTuple):
    """A log that was asked for.

    Attributes:
      service: its name.
      place: a folder, a project or a URI.
    """

    service: str
    place: str

    def seen_from(self, folder: str) -> "Target":
        """The same place if a path is relative to another folder."""
        if self.service == "tensorboard":
            return self._replace(place=os.path.join(folder, self.place))
        for scheme in (_FILES, "file:") if self.service == "mlflow" else ():
            if self.place.startswith(scheme):
                path = os.path.join(folder, self.place.removeprefix(scheme))
                return self._replace(place=scheme + path)
        return self


def log_option(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--log`."""
    return click.option(
        "--log",
        "logs",
        multiple=True,
        callback=_targets,
        metavar="SERVICE:PLACE",
        help="Log the search there, too, generation by generation: tensorboard:DIR, wandb:PROJECT "
        "or mlflow:URI, each with the extra of its name; may be repeated. A service that fails "
        "does not end the run.",
    )(command)


def logs_of(targets: Sequence[Target]) -> list[telemetry.Log]:
    """Logs that say on stderr what fails.

    Raises:
      ValueError: the extra of one is not installed.
    """
    logs = []
    for service, place in targets:
        try:
            log = _SERVICES[service](place)
        except ImportError as error:
            raise ValueError(f"--log {service}:{place}: {error}") from error
        log.warn = _say
        logs.append(log)
    return logs


def _targets(context: click.Context, parameter: click.Parameter, given: Any) -> list[Target]:
    found = [Target(*text.partition(":")[::2]) for text in given]
    for service, place in found:
        if service not in _SERVICES or not place:
            raise click.BadParameter(
                f"expected tensorboard:DIR, wandb:PROJECT or mlflow:URI; got {service}:{place}."
            )
    return found


def _say(sentence: str) -> None:
    click.echo(f"jgaprune: {sentence}", err=True)
