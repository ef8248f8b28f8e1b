"""Does bfloat16 change which masks win?

Masks of one sparsity are scored by the default objective, with the default repair where the
network has batch-norm layers, once with float32 and once with bfloat16 operands. Half of them are
mutated copies of one good mask (magnitude), as near to each other as a search's front; half are
random. Written per network and group: rank correlations, the largest difference beside the spread
of the group's fitness, whether the same mask wins, and what is lost in float32 by taking
bfloat16's winner.

    python benchmarks/precision.py --network WEIGHTS INPUTS.npz --network OTHER INPUTS.npz

The demo's network always takes part. On CPU bfloat16 is emulated: slow, but rounded the same way.
`--smoke` runs a few masks and keeps nothing.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from documents import SPARSITY, add_strategy, chosen_strategy, document, out_path, parser, write
from scipy.stats import kendalltau, spearmanr

from jgaprune import converters
from jgaprune.demo import TEST_IMAGES, WEIGHTS
from jgaprune.engine import DTYPES, evaluate
from jgaprune.inputs.files import read_inputs
from jgaprune.masks import kept_for
from jgaprune.model import Model
from jgaprune.objectives import output_distance
from jgaprune.repair import batch_norm_delta
from jgaprune.saliency import magnitude, one_shot, protect
from jgaprune.spaces import weights
from jgaprune.types import Array, Genomes, MaskSpace, Objective


def main() -> None:
    """Compares the dtypes on every network and writes after each."""
    options = _options()
    cells: list[dict[str, Any]] = []
    for path, inputs in [(WEIGHTS, TEST_IMAGES), *options.network]:
        model = converters.load("auto", path)
        shown = jnp.asarray(read_inputs(inputs, model.spec)[: options.inputs])
        cells.append(_cell(model, shown, options))
        print(_lines(cells[-1]), flush=True)
        if not options.smoke:
            write(options.out, document(__doc__, cells=cells))


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--network",
        nargs=2,
        action="append",
        default=[],
        metavar=("WEIGHTS", "INPUTS"),
        help="a weight file that is recognised, and unlabelled inputs for it",
    )
    arguments.add_argument("--inputs", type=int, default=128)
    arguments.add_argument("--masks", type=int, default=64)
    arguments.add_argument("--sparsity", type=float, default=SPARSITY)
    add_strategy(arguments)
    options = arguments.parse_args()
    if options.smoke:
        options.inputs, options.masks = 4, 8
    options.out = out_path(options, "precision")
    return options


def _cell(model: Model, inputs: Array, options: argparse.Namespace) -> dict[str, Any]:
    num_near = options.masks // 2
    space, genomes = _candidates(model, options.sparsity, num_near, options.masks - num_near)
    with jax.default_matmul_precision("highest"):
        repair = batch_norm_delta(model, inputs) if model.spec.norms else None
        objective = output_distance(model, inputs=None if repair else inputs, repair=repair)
    fitness = {dtype: _fitness(space, objective, genomes, dtype, options) for dtype in DTYPES}
    groups = {
        "all": slice(None),
        "near_one_good_mask": slice(num_near),
        "random": slice(num_near, None),
    }
    return {
        "model": model.spec.name,
        "sha256": model.spec.source and model.spec.source.sha256,
        "num_inputs": len(inputs),
        "sparsity": options.sparsity,
        "repair": "batch_norm_delta" if repair else None,
        "groups": {
            name: compare(fitness["float32"][members], fitness["bfloat16"][members])
            for name, members in groups.items()
        },
        "fitness": {dtype: values.tolist() for dtype, values in fitness.items()},
    }


def compare(exact: np.ndarray, rounded: np.ndarray) -> dict[str, Any]:
    """How well the order of `rounded` fitness is that of `exact`; lower fitness wins."""
    winner = exact[np.argmin(rounded)]
    return {
        "masks": len(exact),
        "spearman": float(spearmanr(exact, rounded).statistic),
        "kendall": float(kendalltau(exact, rounded).statistic),
        "same_winner": bool(winner == exact.min()),
        "lost_by_the_winner": float(winner - exact.min()),
        "largest_difference": float(np.abs(exact - rounded).max()),
        "deviation_of_fitness": float(exact.std()),
        "best_fitness": float(exact.min()),
    }


def _candidates(
    model: Model, sparsity: float, num_near: int, num_random: int
) -> tuple[MaskSpace, Genomes]:
    """Mutations of the magnitude mask in the strengths of a search, and random masks."""
    layout = model.layout
    scores = magnitude(model.params, layout, sparsity)
    protected = protect(scores, layout, kept_for(sparsity, layout.num_weights))
    space = weights(protected, layout, sparsity)
    good = space.encode(one_shot(scores, layout, sparsity))
    mutate_key, strength_key, sample_key = jax.random.split(jax.random.key(0), 3)
    low, high = (jnp.log(bound) for bound in space.strength)
    strengths = jnp.exp(jax.random.uniform(strength_key, (num_near,), minval=low, maxval=high))
    near = jax.jit(jax.vmap(space.mutate, in_axes=(0, None, 0)))(
        jax.random.split(mutate_key, num_near), good, strengths
    )
    sampled = jax.jit(jax.vmap(space.sample))(jax.random.split(sample_key, num_random))
    return space, jnp.concatenate([near, sampled])


def _fitness(
    space: MaskSpace,
    objective: Objective,
    genomes: Genomes,
    dtype: str,
    options: argparse.Namespace,
) -> np.ndarray:
    strategy = chosen_strategy(options, dtype)
    scores = jax.jit(evaluate, static_argnames="strategy")
    # The backend may round the operands of float32 products, too: here they are exact.
    with jax.default_matmul_precision("highest" if dtype == "float32" else "default"):
        fitness, _ = scores(space, objective, jax.random.key(0), genomes, strategy=strategy)
    return np.asarray(fitness, np.float64)


def _lines(cell: dict[str, Any]) -> str:
    rows = [
        f"  {name}: Spearman {group['spearman']:.4f}, Kendall {group['kendall']:.4f}, "
        f"{'same' if group['same_winner'] else 'another'} winner "
        f"(loses {group['lost_by_the_winner']:.2g}), largest difference "
        f"{group['largest_difference']:.2g} in a deviation of {group['deviation_of_fitness']:.2g}"
        for name, group in cell["groups"].items()
    ]
    return "\n".join([f"{cell['model']}, {cell['sparsity']:.0%}:", *rows])


if __name__ == "__main__":
    main()
