"""`jgaprune prune`: files in, a searched and saved run out."""

from typing import Any

import click

from jgaprune import driver
from jgaprune.cli.deliver import deliver
from jgaprune.cli.device_options import device_options
from jgaprune.cli.faults import collect, explains_faults
from jgaprune.cli.interrupts import interruptible
from jgaprune.cli.options import (
    architecture_options,
    budget_options,
    effort_options,
    evaluation_options,
    load_model,
    normalisation_options,
    trust_option,
)
from jgaprune.cli.progress import shown_progress
from jgaprune.cli.search_data import read_search_data, with_files
from jgaprune.report import LABELLED_OBJECTIVES, check_out

_EPILOG = """\b
Examples:
  No data at all; inputs are made from the network alone:
    jgaprune prune --weights resnet20.th --sparsity 0.8 --out pruned
  With unlabelled images, and labelled ones that only the report sees:
    jgaprune prune --arch cifar_resnet20 --weights resnet20.th --sparsity 0.9 \\
      --inputs images.npz --eval-data test.npz --evaluations 2000 --out pruned
  The paper's setting: random scores, labels in the search, its fifth strategy:
    jgaprune prune --weights mnist.pth --sparsity 0.5 --space scores --evolver paper5 \\
      --objective accuracy --inputs labelled.npz --generations 50 --out paper
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--weights",
    required=True,
    metavar="FILE",
    help="Pre-trained weights: .pth/.pt/.th (read without torch), .safetensors, .npz, .keras/.h5 "
    "of Keras, .bin of llama2.c, or a folder of Orbax or Hugging Face.",
)
@architecture_options
@click.option(
    "--sparsity",
    required=True,
    type=float,
    metavar="S",
    help="Fraction of the prunable weights to remove, between 0 and 1; met to the weight (the "
    "space scores rounds it in every tensor).",
)
@click.option(
    "--inputs",
    metavar="FILE",
    help="Unlabelled inputs for the search: .npy or .npz (array images) with uint8 images NHWC or "
    "NHW, or floats that are model inputs already; or tokens [N, L]. A few hundred are enough.  "
    "[default: made from the model alone]",
)
@click.option(
    "--supplement/--no-supplement",
    default=True,
    show_default=True,
    help="Whether inputs made from the model join those of --inputs.",
)
@click.option(
    "--num-inputs",
    type=click.IntRange(min=2),
    metavar="N",
    help="Inputs to make from the model.  [default: 512, beside --inputs at least 256]",
)
@click.option(
    "--eval-data",
    metavar="FILE",
    help="Labelled data for the report: .npz with images and labels, or with tokens [N, L + 1]. "
    "The search never sees them.",
)
@click.option(
    "--space",
    default="bases",
    show_default=True,
    help=f"What evolution changes. One of {', '.join(driver.SPACES)}, or several for one search "
    "after another, coarse first, such as bases,weights; each gets an equal share of the budget.",
)
@click.option(
    "--evolver",
    default="genetic",
    show_default=True,
    help=f"How it evolves. One of {', '.join(driver.EVOLVERS)}.",
)
@click.option(
    "--objective",
    default="output_distance",
    show_default=True,
    help=f"What is minimised. One of {', '.join(driver.OBJECTIVES)}, or a weighted sum such as "
    "kl+0.1*feature_distance. "
    f"{' and '.join(LABELLED_OBJECTIVES)} need labels in --inputs.",
)
@budget_options
@effort_options
@evaluation_options
@device_options
@trust_option
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**32 - 1),
    metavar="S",
    help="Same seed, same machine: same masks.",
)
@click.option(
    "--repair",
    type=click.Choice(driver.REPAIRS),
    default="auto",
    show_default=True,
    help="What is done to what is left, without labels: refit weights and batch-norm layers, and "
    "train the result further or not; correct the batch-norm layers; or nothing.",
)
@click.option("--no-repair", "repair", flag_value="none", help="The same as --repair none.")
@normalisation_options
@click.option("--out", required=True, metavar="DIR", help="Folder to make for the result.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace DIR once the new result is complete. A folder that jgaprune didn't make is kept "
    "as DIR.old.",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of the table.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@explains_faults
def prune(
    *,
    weights: str,
    arch: str,
    arch_config: dict[str, Any],
    sparsity: float,
    inputs: str | None,
    supplement: bool,
    num_inputs: int | None,
    eval_data: str | None,
    space: str,
    evolver: str,
    objective: str,
    evaluations: int | None,
    population: int | None,
    generations: int | None,
    seconds: float | None,
    preset: str,
    train_steps: int | None,
    gradient_swaps: bool,
    seeds: bool,
    racing: driver.Looks,
    chunk: Any,
    strategy: str,
    mesh: str | None,
    islands: int,
    migrate_every: int,
    migrants: int,
    trust: bool,
    seed: int,
    repair: str,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    out: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Prune a pre-trained network without its training data.

    DIR receives report.json and report.txt, plots, the masks, and the pruned and repaired
    weights: for Flax (params/) and under the names and in the layouts of the weight file
    (pruned.safetensors). Everything is checked before the search starts. Ctrl-C stops the
    search and saves the best masks so far.
    """
    _, model = collect(
        lambda: check_out(out, overwrite=overwrite),
        lambda: load_model(arch, weights, arch_config, mean, std),
    )
    data = read_search_data(model, sparsity, inputs, eval_data, objective, out, overwrite)
    with interruptible() as interrupts:
        with shown_progress(quiet=quiet) as show:
            report = driver.prune(
                model,
                sparsity=sparsity,
                inputs=data.inputs,
                supplement=supplement,
                num_inputs=num_inputs,
                labels=data.labels,
                space=space,
                objective=objective,
                evolver=evolver,
                repair=repair,
                racing=racing,
                evaluations=evaluations,
                population=population,
                generations=generations,
                seconds=seconds,
                preset=preset,
                train_steps=train_steps,
                gradient_swaps=gradient_swaps,
                seeds=seeds,
                key=seed,
                chunk=chunk,
                strategy=strategy,
                mesh=mesh,
                islands=islands,
                migrate_every=migrate_every,
                migrants=migrants,
                evaluation_data=data.evaluation,
                trust=trust,
                on_record=interrupts.between_generations(show),
            )
        files = {"weights": weights, "inputs": inputs, "eval_data": eval_data}
        deliver(with_files(report, files), out, overwrite=overwrite, as_json=as_json)
