"""How far are inputs of one kind and another from a network's stored batch-norm statistics?

`jp.inputs.unlikeness`, from which on `prune` warns of given inputs at 0.25, of 256 images of every
kind: labelled test images, eight at a time and those of one class as well; unlabelled ones, if any
are given; variations; colours exchanged; other normalisations; another data set, grey and framed in
black or cut to the size of the network's images; and noise. Kinds of several draws tell the least,
the median and the greatest.

    python benchmarks/likeness.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz --other-data OTHER.npz

Writes a JSON file. `--smoke` takes the embedded digits network, and keeps nothing.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from documents import document, out_path, write
from subjects import NUM_GIVEN, parser

import jgaprune as jp
from jgaprune.inputs import UNLIKE, gaussian_noise, variation_of
from jgaprune.inputs.files import read_evaluation_data, read_inputs

FEW = 8
"""Images in the smallest sets that are tried."""
DRAWS = 10
WRONG = {"not normalised": (0.0, 1.0), "normalised by halves": (0.5, 0.5)}
"""Means and deviations other than those that the network was trained with."""


def main() -> None:
    """Measures every kind, and writes what came out."""
    options = _options()
    model = jp.converters.load(options.arch, options.weights)
    if not model.shows_norms:
        raise SystemExit(f"{model.spec.name} shows no batch-norm layers to be near to or far from")
    found = {}
    for kind, sets in _kinds(model, options):
        found[kind] = _range([jp.inputs.unlikeness(model, jax.numpy.asarray(s)) for s in sets])
        print(f"{kind}: {found[kind]}", flush=True)
    if not options.smoke:
        about = {"model": model.spec.name, "warns_from": UNLIKE, "unlikeness": found}
        write(out_path(options, f"likeness_{model.spec.name}"), document(__doc__, **about))


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--other-data", type=Path, help="images of another data set, .npz")
    options = made.parse_args()
    if options.smoke:
        assets = Path(jp.__file__).parent / "assets"
        options.arch, options.weights = "digits_cnn", assets / "digits_cnn.pth"
        options.eval_data = assets / "digits_test.npz"
    if not (options.weights and options.eval_data):
        raise SystemExit("WEIGHTS and --eval-data are needed")
    return options


def _kinds(
    model: jp.Model, options: argparse.Namespace
) -> Iterator[tuple[str, list[np.ndarray | jax.Array]]]:
    """Names of kinds, each with one set of inputs or several."""
    spec, key = model.spec, jax.random.key(options.key)
    images, labels = read_evaluation_data(options.eval_data, spec)
    order = np.random.default_rng(options.key).permutation(len(images))
    many = images[order[:NUM_GIVEN]]
    yield "test images", [many]
    starts = range(0, min(DRAWS * FEW, len(images)), FEW)
    yield f"{FEW} test images", [images[order[start:][:FEW]] for start in starts]
    yield "one class", [images[labels == label][:NUM_GIVEN] for label in np.unique(labels)]
    if options.inputs:
        yield "unlabelled", [read_inputs(options.inputs, spec)[:NUM_GIVEN]]
    keys = jax.random.split(key, DRAWS)
    yield "variations", [variation_of(spec)(one, jax.numpy.asarray(many)) for one in keys]
    if spec.input_shape[spec.channel_axis] > 1:
        axis = spec.channel_axis % len(spec.input_shape) + 1
        yield "channels reversed", [np.flip(many, axis)]
    for name, moments in WRONG.items():
        mean, std = ([moment] * spec.input_shape[spec.channel_axis] for moment in moments)
        wrong, _ = read_evaluation_data(options.eval_data, spec, mean, std)
        yield name, [wrong[order[:NUM_GIVEN]]]
    if options.other_data:
        yield "another data set", [_other(options.other_data, spec)]
    yield "noise", [gaussian_noise(spec, one, NUM_GIVEN) for one in keys]


def _other(path: Path, spec: jp.ModelSpec) -> np.ndarray:
    """Grey images `[N, H, W]` as inputs, in the middle of black or cut to the middle."""
    axis = spec.channel_axis % len(spec.input_shape)
    height, width = np.delete(spec.input_shape, axis)
    with np.load(path) as arrays:
        grey = arrays["images"][:NUM_GIVEN]
    framed = np.pad(grey, ((0, 0), (height, height), (width, width)))
    top, left = (np.array(framed.shape[1:]) - (height, width)) // 2
    cut = framed[:, top : top + height, left : left + width]
    return read_inputs(np.stack([cut] * spec.input_shape[axis], axis=-1), spec)


def _range(values: list[Any]) -> float | list[float]:
    """Of one set its value, of several the least, the median and the greatest."""
    if len(values) == 1:
        return values[0]
    return [float(value) for value in np.quantile(values, (0, 0.5, 1))]


if __name__ == "__main__":
    main()
