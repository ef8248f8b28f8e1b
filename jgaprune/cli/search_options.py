"""Options that say how a search goes: budget, effort, evaluation and output."""

from collections.abc import Callable
from fractions import Fraction

import click

from jgaprune.driver import Racing
from jgaprune.driver.presets import PRESETS
from jgaprune.driver.racing import racing_faults
from jgaprune.engine import FORMS

_USUAL_LOOKS = "usual"


def chunk_size(context: click.Context, parameter: click.Parameter, text: str) -> int | str:
    """A click callback: a whole number, or `auto`."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"expected a whole number or auto; got {text!r}.") from None


def looks(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> bool | tuple[Racing, ...]:
    """A click callback: shares as `1/16:1/2,1/4:1/4`, the usual ones, or none at all."""
    if text is None or text == _USUAL_LOOKS:
        return text is not None
    try:
        pairs = [one.split(":") for one in text.split(",")]
        asked = tuple(Racing(_share(seen), _share(left)) for seen, left in pairs)
    except (ValueError, ArithmeticError):
        raise click.BadParameter(
            "expected for every look the share of the inputs and that of the masks that go on, "
            f"for example 1/16:1/2,1/4:1/4; got {text!r}."
        ) from None
    if faults := racing_faults(asked):
        raise click.BadParameter("; ".join(faults) + ".")
    return asked


def _share(text: str) -> float:
    return float(Fraction(text.strip()))


def budget_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--evaluations`, `--population`, `--generations`, `--seconds` and what else ends it."""
    command = click.option(
        "--patience",
        type=click.IntRange(min=1),
        metavar="T",
        help="End the search, or go on to the next space, after T generations without a better "
        "mask.",
    )(command)
    command = click.option(
        "--target-fitness", type=float, metavar="F", help="End the search at this fitness."
    )(command)
    command = click.option(
        "--seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Budget: stop searching after so many seconds.",
    )(command)
    command = click.option(
        "--generations", type=click.IntRange(min=1), metavar="T", help="Budget: generations."
    )(command)
    command = click.option(
        "--population", type=click.IntRange(min=2), metavar="P", help="Masks per generation."
    )(command)
    return click.option(
        "--evaluations",
        type=click.IntRange(min=1),
        metavar="N",
        help="Budget: masks to try in all; a look (--racing) counts as its share.  "
        "[default: 120 where weights are refitted, else 1000, times the preset's effort, if there "
        "is no other budget]",
    )(command)


def seed_run_option(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--seed-run`."""
    return click.option(
        "--seed-run",
        "seed_runs",
        metavar="DIR",
        multiple=True,
        help="Start from the masks of another run of this network, too, at this sparsity or "
        "another one; may be repeated.",
    )(command)


def effort_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--preset`, `--seeds`, `--train-steps` and `--gradient-swaps`."""
    command = click.option(
        "--gradient-swaps/--no-gradient-swaps",
        default=True,
        show_default=True,
        help="In the space weights, let half of the mutations swap what a gradient on 64 inputs "
        "says; each counts as three forward passes over these. Not with --train-steps 0.",
    )(command)
    command = click.option(
        "--seeds/--no-seeds",
        default=True,
        show_default=True,
        help="Start from the one-shot masks, and so end no worse than the best of them.",
    )(command)
    command = click.option(
        "--train-steps",
        type=click.IntRange(min=0),
        metavar="N",
        help="Steps of gradient training: of masks before the search (space bases), and of weights "
        "after it (repair distil); 0 for none.  [default: 1200, times the preset's effort, fewer "
        "with a small budget]",
    )(command)
    return click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        default="default",
        show_default=True,
        help="Effort where no budget says otherwise: a third, one or four times the usual.",
    )(command)


def evaluation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--racing`, `--chunk` and `--strategy`."""
    command = click.option(
        "--strategy",
        default="auto",
        show_default=True,
        metavar="NAME",
        help=f"How masks are evaluated. One of {', '.join(FORMS)}, or auto: what this machine "
        "runs well, measured before long searches.",
    )(command)
    command = click.option(
        "--chunk",
        default="auto",
        show_default=True,
        metavar="C",
        callback=chunk_size,
        help="Masks evaluated side by side; bounds memory, not the result. On a CPU, one is best.",
    )(command)
    return click.option(
        "--racing",
        is_flag=False,
        flag_value=_USUAL_LOOKS,
        metavar="[LOOKS]",
        callback=looks,
        help="Look at new masks on an eighth of the inputs, and evaluate the best quarter in full. "
        "Or look as LOOKS says: 1/16:1/2,1/4:1/4 looks at all on a sixteenth of the inputs, at the "
        "best half on a quarter, and evaluates the best quarter in full. A look counts as its "
        "share of an evaluation.",
    )(command)


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--overwrite`, `--json`, `--log-json` and `--quiet`."""
    command = click.option("--quiet", is_flag=True, help="Show no progress.")(command)
    command = click.option(
        "--log-json", is_flag=True, help="Show progress as lines of JSON, for programs."
    )(command)
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON instead of the table."
    )(command)
    return click.option(
        "--overwrite",
        is_flag=True,
        help="Replace DIR once the new result is complete. A folder that jgaprune didn't make is "
        "kept as DIR.old.",
    )(command)


def trust_option(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--trust`."""
    return click.option(
        "--trust",
        is_flag=True,
        help="Look closer at how far fitness can be trusted: on newly made inputs and, with "
        "--eval-data, whether fitness ranks masks as accuracy does. Takes some minutes.",
    )(command)
