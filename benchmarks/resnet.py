"""Do evolved masks beat one-shot masks with the same repair, on a real network, without labels?

The default call of `prune` on a CIFAR-10 ResNet at several sparsities, (a) with 256 unlabelled
JPEG images and (b) without any data. Baselines come from the same run, with and without the same
repair. The labelled test images are seen by the report only.

    python benchmarks/resnet.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz

`--smoke` runs a tiny network on noise: it proves that the script works and nothing else.
"""

import argparse
import json
import tempfile
from pathlib import Path

import jax
import numpy as np

import jgaprune as jp
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.report.environment import device, versions

RESULTS = Path(__file__).parent / "results"
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9)
NUM_INPUTS = 256


def main() -> None:
    """Runs every cell and writes one JSON after each, so that a stopped run keeps its cells."""
    arguments = _arguments()
    model, data, sources = _smoke() if arguments.smoke else _real(arguments)
    cells: list[dict] = []
    document = {
        "question": __doc__.partition("\n")[0],
        "model": model.spec.name,
        "evaluations": arguments.evaluations,
        "key": arguments.key,
        "num_labelled": len(data[1]),
        "device": device(),
        "versions": versions(),
        "cells": cells,
    }
    for source, inputs in sources.items():
        for sparsity in arguments.sparsities:
            cells.append(_cell(model, source, inputs, sparsity, data, arguments))
            print(_line(cells[-1]), flush=True)
            _write(arguments.out, document)


def _cell(model, source, inputs, sparsity, data, arguments) -> dict:
    report = jp.prune(
        model,
        sparsity=sparsity,
        inputs=inputs,
        evaluations=arguments.evaluations,
        key=arguments.key,
        evaluation_data=data,
    )
    document = report.to_json()
    keys = ("accuracy", "baselines", "fitness", "evaluations", "history", "seconds", "settings")
    return {"inputs": source, "sparsity": sparsity, **{key: document[key] for key in keys}}


def _line(cell: dict) -> str:
    repaired = {
        name: round(100 * baseline["repaired"]["accuracy"], 2)
        for name, baseline in cell["baselines"].items()
    }
    ours = round(100 * cell["accuracy"]["pruned"], 2)
    return f"{cell['inputs']} {cell['sparsity']:.0%}: evolved {ours}, one-shot repaired {repaired}"


def _real(arguments):
    model = jp.converters.load(arguments.arch, arguments.weights)
    data = read_evaluation_data(arguments.eval_data, model.spec)
    unlabelled = read_inputs(arguments.inputs, model.spec)
    chosen = np.random.default_rng(arguments.key).permutation(len(unlabelled))[:NUM_INPUTS]
    # The same inputs that the call without data makes for itself, made once.
    input_key = jax.random.split(jax.random.key(arguments.key), 3)[0]
    made = jp.inputs.synthesize(model, input_key, NUM_INPUTS)
    return model, data, {"synthesised": made, "unlabelled": unlabelled[chosen]}


def _smoke():
    weights = {"w1": jax.random.normal(jax.random.key(0), (6, 16))}
    weights["w2"] = jax.random.normal(jax.random.key(1), (16, 4))
    model = jp.Model.from_fn(_two_layers, weights, (6,))
    inputs = jax.random.normal(jax.random.key(2), (32, 6))
    labels = np.asarray(_two_layers(weights, inputs).argmax(-1))
    return model, (np.asarray(inputs), labels), {"noise": inputs}


def _two_layers(params, inputs):
    return jax.nn.relu(inputs @ params["w1"]) @ params["w2"]


def _write(path: Path, document: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--arch", default="cifar_resnet20")
    parser.add_argument("--inputs", help="unlabelled images, .npz")
    parser.add_argument("--eval-data", help="labelled test images, .npz")
    parser.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--key", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.sparsities, arguments.evaluations = (0.5,), 32
        arguments.out = Path(tempfile.mkdtemp()) / "resnet.json"
    elif not (arguments.weights and arguments.inputs and arguments.eval_data):
        parser.error("WEIGHTS, --inputs and --eval-data are needed (or --smoke)")
    arguments.out = arguments.out or RESULTS / f"{arguments.arch}.json"
    return arguments


if __name__ == "__main__":
    main()
