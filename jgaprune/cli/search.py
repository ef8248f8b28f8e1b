"""What `prune` and `resume` do: files in, a search that is shown, a saved run out."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from jgaprune import converters, driver
from jgaprune.cli.deliver import deliver
from jgaprune.cli.faults import collect
from jgaprune.cli.interrupts import Preempted, interruptible
from jgaprune.cli.logs import logs_of
from jgaprune.cli.options import load_model
from jgaprune.cli.progress import shown_progress
from jgaprune.cli.search_data import read_search_data, with_files
from jgaprune.model import Model
from jgaprune.report import check_out
from jgaprune.types import Masks

_PASSED_ON = (
    *("sparsity", "supplement", "num_inputs", "space", "objective", "evolver", "repair", "racing"),
    *("evaluations", "population", "generations", "seconds", "target_fitness", "patience"),
    *("preset", "train_steps"),
    *("gradient_swaps", "seeds", "chunk", "strategy", "trust"),
    *("mesh", "islands", "migrate_every", "migrants"),
)
"""Parameters of the command that are arguments of `driver.prune` under the same name."""


def search_and_save(params: Mapping[str, Any], checkpoints: driver.Checkpoints | None) -> None:
    """Runs the command with these parameters, from the beginning or from where it stood."""
    out, overwrite = params["out"], params["overwrite"]
    _, logs, model = collect(
        lambda: check_out(out, overwrite=overwrite),
        lambda: logs_of(params["logs"]),
        lambda: load_model(
            *(params[name] for name in ("arch", "weights", "arch_config", "mean", "std"))
        ),
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
    with interruptible() as interrupts:
        if checkpoints is not None:
            interrupts.kept = f"Go on with: jgaprune resume {checkpoints.folder}"
        with shown_progress(quiet=params["quiet"], as_json=params["log_json"]) as show:
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
                    **{name: params[name] for name in _PASSED_ON},
                )
            except Preempted:
                click.echo(f"jgaprune: stopped. {interrupts.kept}", err=True)
                return
        files = {name: params[name] for name in ("weights", "inputs", "eval_data")}
        report = with_files(report, files)
        deliver(report, out, overwrite=overwrite, as_json=params["as_json"])


def _masks_of(model: Model, run: str) -> Masks:
    """The masks in a run's folder, for the leaves of this model."""
    path = Path(run) / "masks.npz"
    try:
        return converters.masks_from_source(model, converters.load_masks(path))
    except ValueError as error:
        raise ValueError(f"--seed-run {run}: {error}") from error
