"""On how many variations of a few held-out inputs should the result of a run be chosen?

Networks that a run might choose from: one-shot masks, refitted and distilled on given and made
inputs, for some numbers of steps and some keys. As often as asked, other unlabelled inputs are
drawn, as many as a run holds out, and every network is scored on them, alone or with variations.
Told are the rank correlation with the distance from the dense network on labelled test images, the
distance and the accuracy there of the network of the best score, and of the best network.

    python benchmarks/choice.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz

Writes a JSON file. `--smoke` runs a tiny network on noise: it proves that the script works and
nothing else.
"""

import argparse
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from documents import document, out_path, write
from scipy.stats import spearmanr
from subjects import NUM_GIVEN, parser, tiny

import jgaprune as jp
from jgaprune.driver.inputs import make_inputs
from jgaprune.driver.measure import repaired
from jgaprune.driver.train import distilled
from jgaprune.inputs import variation_of
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.report import accuracy
from jgaprune.types import Buffers, Params

MASKS = {"magnitude": jp.saliency.magnitude, "lamp": jp.saliency.lamp, "erk": jp.saliency.erk}
NUM_HELD_OUT = 64
VARIATIONS = (0, 1, 3, 7, 15)


class Candidate(NamedTuple):
    """A network that might be chosen, and how good it is on labelled images."""

    name: str
    weights: tuple[Params, Buffers]
    distance: float
    accuracy: float


def main() -> None:
    """Makes the networks, scores them on every draw, and writes what came out."""
    options = _options()
    model, data, unlabelled = _subject(options)
    order = np.random.default_rng(0).permutation(len(unlabelled))
    given, others = np.split(unlabelled[order], [min(NUM_GIVEN, len(order) // 2)])
    candidates = _candidates(model, given, data, options)
    best = min(candidates, key=lambda one: one.distance)
    found = {
        "sparsity": options.sparsity,
        "networks": {one.name: [one.distance, one.accuracy] for one in candidates},
        "best": [best.distance, best.accuracy],
        "num_held_out": min(NUM_HELD_OUT, len(others)),
        "draws": options.draws,
        "by_variations": _by_variations(model, candidates, others, options.draws),
    }
    for number, cell in found["by_variations"].items():
        print(f"{number} variations: {cell}", flush=True)
    if not options.smoke:
        about = {"model": model.spec.name, "num_labelled": len(data[1])}
        write(out_path(options, f"choice_{model.spec.name}"), document(__doc__, **about, **found))


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--sparsity", type=float, default=0.8)
    made.add_argument("--steps", type=int, nargs="+", default=[40, 80])
    made.add_argument("--keys", type=int, nargs="+", default=[0, 1])
    made.add_argument("--draws", type=int, default=30)
    options = made.parse_args()
    if options.smoke:
        options.steps, options.keys, options.draws = [2], [0], 2
    return options


def _subject(options: argparse.Namespace) -> tuple[jp.Model, tuple[np.ndarray, np.ndarray], Any]:
    if options.smoke:
        return tiny()
    if not (options.weights and options.inputs and options.eval_data):
        raise SystemExit("WEIGHTS, --inputs and --eval-data are needed")
    model = jp.converters.load(options.arch, options.weights)
    data = read_evaluation_data(options.eval_data, model.spec)
    return model, data, read_inputs(options.inputs, model.spec)


def _candidates(
    model: jp.Model, given: np.ndarray, data: tuple[np.ndarray, np.ndarray], options: Any
) -> list[Candidate]:
    inputs = make_inputs(model, given, "distil", jax.random.key(options.key), supplement=True)
    varied = variation_of(model.spec)(jax.random.key(options.key + 1), inputs.all)
    repair = jp.repair.reconstruct(model, inputs.for_repair, shown=varied)
    made = []
    for name, score in MASKS.items():
        scores = score(model.params, model.layout, options.sparsity)
        masks = jp.saliency.one_shot(scores, model.layout, options.sparsity)
        refitted, _ = repaired(model, repair, masks)
        for key in options.keys:
            for steps in options.steps:
                draw = jax.random.key(key)
                weights = distilled(model, refitted, masks, inputs, steps, draw)
                away = _distance(model, weights, data[0])
                right = accuracy(model, *weights, *data)
                made.append(Candidate(f"{name}, {steps} steps, key {key}", weights, away, right))
                print(f"{made[-1].name}: {away:.4f} {right:.4f}", flush=True)
    return made


def _by_variations(
    model: jp.Model, candidates: list[Candidate], others: np.ndarray, draws: int
) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation over the draws of what each number of variations leads to."""
    told: dict[int, list[tuple[float, float, float]]] = {number: [] for number in VARIATIONS}
    vary, away = variation_of(model.spec), [one.distance for one in candidates]
    for draw in range(draws):
        few = np.random.default_rng(draw).permutation(len(others))[:NUM_HELD_OUT]
        held_out = jnp.asarray(others[few])
        keys = jax.random.split(jax.random.key(draw), VARIATIONS[-1])
        shown = jnp.concatenate([held_out, *(vary(key, held_out) for key in keys)])
        looks = partial(_logits, model, inputs=shown)
        dense, logits = looks(_dense(model)), [looks(one.weights) for one in candidates]
        for number in VARIATIONS:
            end = len(few) * (number + 1)
            scores = [_apart(one[:end], dense[:end]) for one in logits]
            chosen = candidates[int(np.argmin(scores))]
            rank = float(spearmanr(scores, away).statistic)
            told[number].append((rank, chosen.distance, chosen.accuracy))
    names = ("rank_correlation", "distance", "accuracy")
    return {
        str(number): {
            name: [float(np.mean(row)), float(np.std(row))]
            for name, row in zip(names, zip(*rows, strict=True), strict=True)
        }
        for number, rows in told.items()
    }


def _dense(model: jp.Model) -> tuple[Params, Buffers]:
    return model.params, model.buffers


def _logits(model: jp.Model, weights: tuple[Params, Buffers], inputs: Any) -> jax.Array:
    parts = [inputs[start : start + 256] for start in range(0, len(inputs), 256)]
    return jnp.concatenate([_applied(model, *weights, jnp.asarray(part)) for part in parts])


@jax.jit
def _applied(model: jp.Model, params: Params, buffers: Buffers, inputs: jax.Array) -> jax.Array:
    return model.apply(params, buffers, inputs)


def _apart(logits: jax.Array, dense: jax.Array) -> float:
    return float(jp.objectives.compare_outputs(logits, dense)[0])


def _distance(model: jp.Model, weights: tuple[Params, Buffers], inputs: np.ndarray) -> float:
    return _apart(_logits(model, weights, inputs), _logits(model, _dense(model), inputs))


if __name__ == "__main__":
    main()
