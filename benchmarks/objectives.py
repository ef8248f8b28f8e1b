"""Which label-free objective predicts accuracy best, after the default repair and without data?

Random genomes of the default space, around the seeds of a default search: children of two seeds
after 1 to 32 mutations. Each is repaired as in a default search, on inputs made from the model
alone, and its outputs are scored by every objective. Written for every model and sparsity: all
fitnesses and accuracies, and the Spearman correlation of fitness with the error on labelled data,
over all genomes and over the better half of them, where a search spends its time. To tell what
limits the correlation, also: the same objectives on the labelled inputs themselves, and how
reliable fitness and accuracy are (`correlations.py`).

    python benchmarks/objectives.py WEIGHTS --arch cifar_resnet20 --eval-data TEST.npz

Writes a JSON file after each cell, and a picture beside it; cells that the file holds already are
not measured again, so that calls for several models share one. `--smoke` runs a tiny network on
noise: it proves that the script works and nothing else.
"""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from correlations import correlations, draw, reliability
from documents import RESULTS, document, write
from subjects import parser
from tasks import Subject, choose_subject

import jgaprune as jp
from jgaprune import objectives
from jgaprune.driver.choices import choose_space
from jgaprune.driver.ground import Ground
from jgaprune.driver.inputs import hold_out
from jgaprune.driver.plan import Choices
from jgaprune.driver.presets import PRESETS
from jgaprune.driver.progress import ignore
from jgaprune.driver.seeding import make_seeds
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.driver.wiring import Keys, make_judge, make_repair, split_key
from jgaprune.inputs import vary
from jgaprune.types import Array, Genome, Genomes, MaskSpace, Repair

COMPARISONS = {
    "output_distance": objectives.compare_outputs,
    "total_variation": objectives.compare_probabilities,
    "logit_cosine": objectives.compare_directions,
    "logit_mse": objectives.compare_logits,
    "kl": objectives.compare_distributions,
    "reverse_kl": objectives.compare_distributions_reversed,
    "agreement": objectives.compare_decisions,
}
DEFAULT = "output_distance"
_MOST_MUTATIONS = 32
_DIGITS = 6


class Outputs(NamedTuple):
    """Of one network: logits on made-up and on labelled inputs, and the distance of its layers."""

    made: Array
    labelled: Array
    feature_distance: Array


class Genes(NamedTuple):
    """Random genomes and how they came about."""

    space: MaskSpace
    genomes: list[Genome]
    about: dict[str, list[Any]]


def main() -> None:
    """Measures every sparsity that the document does not hold yet."""
    arguments = _arguments()
    on, keys = choose_subject(arguments), split_key(arguments.key)
    inputs = hold_out(on.inputs, keys.choice)
    on = on._replace(inputs=inputs)
    varied = vary(jax.random.fold_in(keys.inputs, 1), inputs.all)
    repair = make_repair(on.model, inputs, "reconstruct", varied)
    cells = _done(arguments.out)
    for sparsity in arguments.sparsities:
        about = _about(on, sparsity, arguments)
        if any(about.items() <= cell.items() for cell in cells):
            continue
        cell = about | _measured(on, repair, sparsity, keys, arguments)
        cells.append(cell)
        print(json.dumps({**cell, "pairs": None}, indent=1), flush=True)
        if not arguments.smoke:
            write(arguments.out, document(__doc__, cells=cells))
    draw(arguments.out, cells)


def _done(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["cells"] if path.exists() else []


def _about(on: Subject, sparsity: float, arguments) -> dict[str, Any]:
    """What makes a cell another one."""
    return {
        "model": on.model.spec.name,
        "sha256": on.model.spec.source and on.model.spec.source.sha256,
        "inputs": on.inputs.origin,
        "num_inputs": len(on.inputs.all),
        "num_labelled": len(on.data[1]),
        "key": arguments.key,
        "genomes": arguments.genomes,
        "train_steps": arguments.train_steps,
        "sparsity": sparsity,
    }


def _measured(on: Subject, repair: Repair, sparsity: float, keys: Keys, arguments):
    genes = _genes(on, repair, sparsity, keys, arguments)
    shown, labels = jnp.asarray(on.data[0]), on.data[1]
    dense = objectives.features_of(on.model, on.model.params, on.model.buffers, repair.inputs)
    reference = on.model.apply(on.model.params, on.model.buffers, shown)
    measure = partial(_outputs, on.model, genes.space, repair, dense, shown)
    seen = [jax.device_get(measure(genome)) for genome in genes.genomes]
    made, labelled, features = (np.stack(one) for one in zip(*seen, strict=True))
    right = labelled.argmax(-1) == labels
    fitness = _fitness(made, dense.logits) | {"feature_distance": features}
    on_labelled = _fitness(labelled, reference)
    error = 1.0 - right.mean(1)
    halves = [_fitness(made[:, part::2], dense.logits[part::2])[DEFAULT] for part in (0, 1)]
    return {
        "accuracy_dense": float(np.mean(np.asarray(reference).argmax(-1) == labels)),
        "accuracy_quantiles": [float(one) for one in np.quantile(1 - error, np.linspace(0, 1, 5))],
        "spearman": correlations(fitness, error),
        "spearman_on_labelled_inputs": correlations(on_labelled, error),
        "reliability": {
            "accuracy": reliability(right[:, ::2].mean(1), right[:, 1::2].mean(1)),
            DEFAULT: reliability(*halves),
        },
        "pairs": genes.about
        | {"accuracy": _rounded(1 - error), "fitness": _columns(fitness)}
        | {"fitness_on_labelled_inputs": _columns(on_labelled)},
    }


def _genes(on: Subject, repair: Repair, sparsity: float, keys: Keys, arguments) -> Genes:
    """The space and seeds of a default search, and random genomes around the seeds."""
    model, seen = on.model, on.inputs
    judge = make_judge(model, "output_distance", repair.inputs, None, repair, keys.scores, None)
    start = make_seeds(
        model,
        Ground(seen, "distil", repair, None, judge),
        Choices("bases", "output_distance", "genetic"),
        sparsity,
        keys.masks,
        usual_steps=arguments.train_steps,
        asked_steps=None,
        watch=Stopwatch(),
        tell=ignore,
    )
    space = choose_space("bases", model, sparsity, start.scores)
    seeds = jnp.stack([space.encode(one) for one in start.masks.values()])
    random, names = np.random.default_rng(arguments.key), np.array(list(start.masks))
    parents = random.integers(len(names), size=(arguments.genomes, 2))
    mutations = np.round(_MOST_MUTATIONS ** random.uniform(size=arguments.genomes)).astype(int)
    draws = jax.random.split(keys.around, arguments.genomes)
    genomes = [
        _child(space, key, seeds[jnp.asarray(pair)], jnp.int32(count))
        for key, pair, count in zip(draws, parents, mutations, strict=True)
    ]
    about = {"parents": [" x ".join(names[pair]) for pair in parents]}
    return Genes(space, genomes, about | {"mutations": mutations.tolist()})


@jax.jit
def _child(space: MaskSpace, key: jax.Array, parents: Genomes, mutations: Array) -> Genome:
    """Of two parents, which may be the same, after so many of the strongest mutations."""
    cross_key, key = jax.random.split(key)

    def mutated(index: Array, genome: Genome) -> Genome:
        return space.mutate(jax.random.fold_in(key, index), genome, space.strength[1])

    child = space.cross(cross_key, parents[0], parents[1])
    return jax.lax.fori_loop(0, mutations, mutated, child)


@jax.jit
def _outputs(model, space, repair, dense, labelled, genome) -> Outputs:
    params = jp.masks.apply_masks(model.params, space.decode(genome))
    logits, params, buffers = repair.fit(params, model.buffers)
    features = objectives.features_of(model, params, buffers, repair.inputs)
    distance, _ = objectives.compare_features(features, dense)
    return Outputs(logits, model.apply(params, buffers, labelled), distance)


def _fitness(logits: np.ndarray, dense: Array) -> dict[str, np.ndarray]:
    """What the comparisons of logits `[genomes, N, C]` say of every genome."""
    return {
        name: np.asarray(jax.vmap(compare, in_axes=(0, None))(jnp.asarray(logits), dense)[0])
        for name, compare in COMPARISONS.items()
    }


def _columns(fitness: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: _rounded(values) for name, values in fitness.items()}


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def _arguments():
    arguments = parser(__doc__)
    arguments.add_argument("--sparsities", type=float, nargs="+", default=(0.7, 0.8, 0.9))
    arguments.add_argument("--genomes", type=int, default=100)
    arguments.add_argument("--train-steps", type=int, default=PRESETS["default"].steps)
    chosen = arguments.parse_args()
    if chosen.smoke:
        chosen.sparsities, chosen.genomes, chosen.train_steps = (0.5,), 8, 2
        chosen.out = Path(tempfile.mkdtemp()) / "objectives.json"
    chosen.out = chosen.out or RESULTS / "objectives.json"
    return chosen


if __name__ == "__main__":
    main()
