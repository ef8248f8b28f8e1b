"""Which label-free objective predicts accuracy best?

Random genomes of the `offsets` space around the one-shot masks of a CIFAR-10 ResNet are repaired
and scored by every objective on the same inputs. Printed and written: the Spearman correlation of
fitness with the error on labelled test images, over all genomes and over the better half of them
(by the mean rank of all objectives), where a search spends its time.

    python benchmarks/objectives.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz

`--smoke` runs a tiny network on noise: it proves that the script works and nothing else.
"""

import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata, spearmanr
from subjects import RESULTS, parser, subject

import jgaprune as jp
from jgaprune import objectives
from jgaprune.report.environment import device, versions

COMPARISONS = {
    "output_distance": objectives.compare_outputs,
    "total_variation": objectives.compare_probabilities,
    "logit_cosine": objectives.compare_directions,
    "logit_mse": objectives.compare_logits,
    "kl": objectives.compare_distributions,
    "reverse_kl": objectives.compare_distributions_reversed,
    "agreement": objectives.compare_decisions,
}
SUMS = {"output_distance+feature_distance": ("output_distance", "feature_distance")}


def main() -> None:
    """Measures every source of inputs at every sparsity."""
    arguments = _arguments()
    model, data, repairs = subject(arguments)
    cells = []
    for source, repair in repairs.items():
        for sparsity in arguments.sparsities:
            cells.append(_cell(model, source, repair, sparsity, data, arguments))
            print(cells[-1], flush=True)
    document = {
        "question": __doc__.partition("\n")[0],
        "model": model.spec.name,
        "sha256": model.spec.source and model.spec.source.sha256,
        "key": arguments.key,
        "genomes": arguments.genomes,
        "num_labelled": len(data[1]),
        "device": device(),
        "versions": versions(),
        "cells": cells,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")


def _cell(model, source, repair, sparsity, data, arguments) -> dict:
    space, genomes = _genomes(model, sparsity, arguments.genomes)
    dense = objectives.features_of(model, model.params, model.buffers, repair.inputs)
    test_inputs = jnp.asarray(data[0])
    rows = [_measure(model, space, repair, dense, test_inputs, genome) for genome in genomes]
    error = np.array([np.mean(np.asarray(seen).argmax(-1) != data[1]) for _, seen in rows])
    fitness = _fitness([measured for measured, _ in rows])
    mean_rank = np.mean([rankdata(values) for values in fitness.values()], axis=0)
    better = np.argsort(mean_rank)[: len(error) // 2]
    return {
        "inputs": source,
        "sparsity": sparsity,
        "accuracy": {"worst": float(1 - error.max()), "best": float(1 - error.min())},
        "spearman": {name: _correlation(values, error) for name, values in fitness.items()},
        "spearman_better_half": {
            name: _correlation(values[better], error[better]) for name, values in fitness.items()
        },
    }


def _fitness(measured: list[dict]) -> dict[str, np.ndarray]:
    """What every objective, and every sum of some, says of every genome."""
    fitness = {name: np.array([float(one[name]) for one in measured]) for name in measured[0]}
    sums = {name: np.sum([fitness[part] for part in parts], axis=0) for name, parts in SUMS.items()}
    return fitness | sums


def _correlation(fitness: np.ndarray, error: np.ndarray) -> float:
    return round(float(spearmanr(fitness, error).statistic), 3)


def _genomes(model, sparsity, number):
    """Blends of the one-shot masks' genomes, with noise of the size of their distance."""
    layout = model.layout
    scores = jp.saliency.magnitude(model.params, layout, sparsity)
    kept = jp.masks.kept_for(sparsity, layout.num_weights)
    space = jp.spaces.offsets(jp.saliency.protect(scores, layout, kept), layout, sparsity)
    methods = (jp.saliency.magnitude, jp.saliency.lamp, jp.saliency.erk)
    corners = np.stack(
        [
            space.encode(
                jp.saliency.one_shot(method(model.params, layout, sparsity), layout, sparsity)
            )
            for method in methods
        ]
    )
    random = np.random.default_rng(0)
    blends = random.dirichlet(np.ones(len(corners)), number) @ corners
    noise = random.normal(size=blends.shape) * random.choice([0.15, 0.3, 0.5], (number, 1))
    return space, jnp.asarray(blends + noise, jnp.float32)


@jax.jit
def _measure(model, space, repair, dense, test_inputs, genome):
    """What every objective says of a genome, and its logits on the test images."""
    params = jp.masks.apply_masks(model.params, space.decode(genome))
    logits, params, buffers = repair.fit(params, model.buffers)
    fitness = {name: compare(logits, dense.logits)[0] for name, compare in COMPARISONS.items()}
    features = objectives.features_of(model, params, buffers, repair.inputs)
    fitness["feature_distance"] = objectives.compare_features(features, dense)[0]
    return fitness, model.apply(params, buffers, test_inputs)


def _arguments():
    arguments = parser(__doc__)
    arguments.add_argument("--sparsities", type=float, nargs="+", default=(0.7, 0.8, 0.9))
    arguments.add_argument("--genomes", type=int, default=48)
    chosen = arguments.parse_args()
    if chosen.smoke:
        chosen.sparsities, chosen.genomes = (0.5,), 8
        chosen.out = Path(tempfile.mkdtemp()) / "objectives.json"
    chosen.out = chosen.out or RESULTS / "objectives.json"
    return chosen


if __name__ == "__main__":
    main()
