"""`jgaprune plan`: what a search would need of a device's memory, before anything is run."""

import json
from typing import Any

import click

from jgaprune import driver
from jgaprune.cli.faults import explains_faults
from jgaprune.cli.prune import prune
from jgaprune.cli.search import arguments_of, model_of
from jgaprune.cli.search_data import read_inputs_of
from jgaprune.engine import in_words

_EPILOG = """\b
Examples:
  jgaprune plan --weights resnet20.th --sparsity 0.8 --population 64 --chunk 16
  What would fit on a device of 8 GiB?
    jgaprune plan --weights resnet20.th --sparsity 0.8 --memory-limit 8GiB
"""
_OF_NO_USE = (
    *("out", "overwrite", "quiet", "log_json", "eval_data", "trust", "seed_runs"),
    *("checkpoint_every", "checkpoint_dir", "keep_checkpoints", "logs"),
    *("coordinator", "num_processes", "process_id", "distributed"),
)


def _options() -> list[click.Parameter]:
    """Those of `prune` that memory depends on."""
    return [one for one in prune.params if one.name not in _OF_NO_USE]


@click.command(epilog=_EPILOG, params=_options())
@explains_faults
def plan(**params: Any) -> None:
    """Say what prune would need of a device's memory, without running it.

    Takes the options of prune. The programs of the search are compiled, not run, and asked
    for their needs on each device: masks, masked weights and activations are those of one
    chunk. Exit code 1 if it does not fit, with what would.
    """
    model = model_of(params)
    data = read_inputs_of(model, params["inputs"], params["objective"])
    found = driver.plan_memory(
        model,
        inputs=data.inputs,
        labels=data.labels,
        key=params["seed"],
        **arguments_of(params),
    )
    click.echo(json.dumps(found.to_json(), indent=1) if params["as_json"] else _table(found))
    if not found.fits:
        raise click.exceptions.Exit(1)


def _table(found: driver.Forecast) -> str:
    """A block of lines for every search."""
    return "\n\n".join("\n".join(_lines(stage, found.limit)) for stage in found.stages)


def _lines(stage: driver.StageNeed, limit: int | None) -> list[str]:
    how = f", {stage.strategy}" if stage.strategy else ""
    title = f"{stage.space}: {stage.population} masks, {stage.num_inputs} inputs{how}"
    if stage.fault:
        return [title, f"  does not fit: {stage.fault}"]
    rows = [*stage.parts.items(), ("in all", stage.total)]
    if limit is not None:
        rows += [("of a device's", limit), ("headroom", limit - stage.total)]
    return [title, *(f"  {name:28}{in_words(count):>12}" for name, count in rows)]
