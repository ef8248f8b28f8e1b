"""What `prune` and `resume` do: files in, a search that is shown, a saved run out."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from jgaprune import converters, driver
from jgaprune.agreement import is_first, on_first, together
from jgaprune.cli.deliver import deliver, end_as
from jgaprune.cli.faults import collect
from jgaprune.cli.interrupts import Preempted, interruptible
from jgaprune.cli.logs import logs_of
from jgaprune.cli.options import load_model
from jgaprune.cli.progress import shown_progress
from jgaprune.cli.search_data import SearchData, read_search_data, with_files
from jgaprune.model import Model
from jgaprune.report import Report, check_out
from jgaprune.telemetry import Log
from jgaprune.types import Masks

_PASSED_ON = (
    *("sparsity", "supplement", "num_inputs", "space", "objective", "evolver", "repair", "racing"),
    *("evaluations", "population", "generations", "seconds", "target_fitness", "patience"),
    *("preset", "train_steps"),
    *("gradient_swaps", "seeds", "chunk", "strategy", "trust"),
    *("mesh", "islands", "migrate_every", "migrants", "memory_limit"),
)
"""Parameters of the command that are arguments of `driver.prune` under the same name."""


def search_and_save(params: Mapping[str, Any], checkpoints: driver.Checkpoints | None) -> None:
    """Runs the command with these parameters, from the beginning or from where it stood.

    Of several processes the first shows, prints, logs and saves; all end in the same way.
    """
    model, data, seeds, logs = together(partial(_files_of, params))
    shows = is_first()
    with interruptible() as interrupts:
        if checkpoints is not None:
            interrupts.kept = f"Go on with: jgaprune resume {checkpoints.folder}"
        quiet, as_json = params["quiet"] or not shows, params["log_json"] and shows
        with shown_progress(quiet=quiet, as_json=as_json) as show:
            try:
                report = driver.prune(
                    model,
                    inputs=data.inputs,
                    labels=data.labels,
                    key=params["seed"],
                    evaluation_data=data.evaluation,
                    seed_masks=seeds,
                    checkpoint_dir=checkpoints,
                    on_record=[*logs, interrupts.between_generations(show)],
                    **arguments_of(params),
                )
            except Preempted:
                if shows:
                    click.echo(f"jgaprune: stopped. {interrupts.kept}", err=True)
                return
        on_first(partial(_deliver, report, params))
        end_as(report)


def _files_of(params: Mapping[str, Any]) -> tuple[Model, SearchData, list[Masks], list[Log]]:
    """What a run reads; every process reads its own, and the first sees where the result goes."""
    out, overwrite = params["out"] if is_first() else None, params["overwrite"]
    _, logs, model = collect(
        lambda: out and check_out(out, overwrite=overwrite),
        lambda: logs_of(params["logs"]) if is_first() else [],
        lambda: model_of(params),
    )
    data = read_search_data(
        model,
        params["sparsity"],
        params["inputs"],
        params["eval_data"],
        params["objective"],
        out,
        overwrite,
    )
    seeds = collect(*(partial(_masks_of, model, run) for run in params["seed_runs"]))
    return model, data, seeds, logs


def _deliver(report: Report, params: Mapping[str, Any]) -> None:
    files = {name: params[name] for name in ("weights", "inputs", "eval_data")}
    names = ("out", "overwrite", "as_json")
    deliver(with_files(report, files), **{name: params[name] for name in names})


def model_of(params: Mapping[str, Any]) -> Model:
    """The network of a command."""
    return load_model(*(params[name] for name in ("arch", "weights", "arch_config", "mean", "std")))


def arguments_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `driver.prune` among the parameters of a command."""
    return {name: params[name] for name in _PASSED_ON if name in params}


def _masks_of(model: Model, run: str) -> Masks:
    """The masks in a run's folder, for the leaves of this model."""
    path = Path(run) / "masks.npz"
    try:
        return converters.masks_from_source(model, converters.load_masks(path))
    except ValueError as error:
        raise ValueError(f"--seed-run {run}: {error}") from error
