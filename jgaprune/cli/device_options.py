"""Options that say on which devices a search runs, and on how many islands."""

import re
from collections.abc import Callable

import click

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 1e3, "MB": 1e6, "GB": 1e9}


def memory_size(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """A click callback: bytes, or a number with a unit."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMG]i?B)?", text.strip())
    size = int(float(found[1]) * _UNITS[found[2] or ""]) if found else 0
    if not size:
        raise click.BadParameter(f"expected a size such as 800MiB or 8GiB; got {text!r}.")
    return size


def memory_option(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--memory-limit`."""
    return click.option(
        "--memory-limit",
        metavar="SIZE",
        callback=memory_size,
        help="Of a device, such as 8GiB: the search takes no more, or is refused with what would "
        "fit.  [default: all that it has]",
    )(command)


def device_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--mesh`, `--islands`, `--migrate-every`, `--migrants` and `--memory-limit`."""
    command = memory_option(command)
    command = click.option(
        "--migrants",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Masks that go from every island to the next one, and take the places of worse ones.",
    )(command)
    command = click.option(
        "--migrate-every",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        metavar="T",
        help="Generations from one exchange between islands to the next.",
    )(command)
    command = click.option(
        "--islands",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="K",
        help="Populations that evolve apart, each of --population masks; the budget is that of "
        "all. Evolvers genetic and level_switch only.",
    )(command)
    return click.option(
        "--mesh",
        metavar="AXES",
        help="Devices that share the work: pop=8 splits the masks of a generation, or the islands, "
        "over 8 devices and changes no bit of the result of --strategy sequential; "
        "pop=4,inputs=2 also splits the inputs, which rounds differently.",
    )(command)
