"""`jgaprune prune`: files in, a searched and saved run out."""

from typing import Any

import click

from jgaprune import driver
from jgaprune.cli.checkpoints import RememberedCommand, checkpoint_options, checkpoints_of
from jgaprune.cli.device_options import device_options
from jgaprune.cli.faults import explains_faults
from jgaprune.cli.launch import connect, launch_options
from jgaprune.cli.logs import log_option
from jgaprune.cli.options import architecture_options, normalisation_options
from jgaprune.cli.search import search_and_save
from jgaprune.cli.search_options import (
    budget_options,
    effort_options,
    evaluation_options,
    output_options,
    seed_run_option,
    trust_option,
)
from jgaprune.report import LABELLED_OBJECTIVES

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
  On a machine that may be taken away, and then on another one:
    jgaprune prune --weights resnet20.th --sparsity 0.8 --checkpoint-every 5m --out pruned
    jgaprune resume pruned
  On the GPUs of several nodes, which Slurm's srun gives a process each:
    srun jgaprune prune --weights resnet20.th --sparsity 0.8 --distributed --out pruned
"""


@click.command(epilog=_EPILOG, cls=RememberedCommand)
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
@seed_run_option
@evaluation_options
@device_options
@launch_options
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
@output_options
@log_option
@checkpoint_options
@explains_faults
@click.pass_context
def prune(context: click.Context, **params: Any) -> None:
    """Prune a pre-trained network without its training data.

    DIR receives report.json and report.txt, plots, the masks, and the pruned and repaired
    weights: for Flax (params/) and under the names and in the layouts of the weight file
    (pruned.safetensors). Everything is checked before the search starts. Ctrl-C stops the
    search and saves the best masks so far; with checkpoints, SIGTERM stops it to be gone on
    with by jgaprune resume.
    """
    connect(params)
    search_and_save(params, checkpoints_of(params, context))
