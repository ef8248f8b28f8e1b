"""Options that say on which devices a search runs, and on how many islands."""

from collections.abc import Callable

import click


def device_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--mesh`, `--islands`, `--migrate-every` and `--migrants`."""
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
