"""Does the default call find better networks than every one-shot method with the same repair?

`prune` with nothing set but the sparsity, for every source of inputs, sparsity and key: without any
data, with 256 unlabelled images, or on noise; a key changes the synthesised inputs and the search.
Beside it, on the same inputs, the one-shot methods without repair, with the repair of the search,
and the best of them (by fitness) with its weights distilled for as many steps as we train masks and
weights together, and with the same choice at the end. Rivals, by choice: SparseGPT; masks trained
straight through from LAMP, weights untouched; random search with our seeds, training and repair;
hill climbing with the same, from the best two seeds; our search with the weights untouched, or with
no repair at all; and the paper's five strategies without labels. Searches get the same number of
evaluations and steps of training, or evaluations for these steps. The labelled test images are seen
by the report only.

    python benchmarks/quality.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz

Writes a JSON file after each method, and a picture beside it; what it holds already is not measured
again, so that a later call can add keys and rivals, or what was taken out of it. `--summary` prints
tables of it. `--smoke` runs a tiny network on noise: it proves that the script works and nothing
else.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from documents import commit, document, out_path, write
from quality_methods import (
    NOISE,
    RIVALS,
    SPARSE_GPT,
    STRAIGHT_THROUGH,
    Run,
    make_task,
    measure_missing,
)
from quality_report import Cell, draw, line, summary
from subjects import NUM_GIVEN, parser, tiny

import jgaprune as jp
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.report.environment import device, versions
from jgaprune.training import Training

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SOURCES = ("none", "unlabelled", NOISE)


def main() -> None:
    """Measures every source of inputs at every sparsity, under every key."""
    options = _options()
    if options.summary:
        print(summary(json.loads(options.out.read_text())["cells"]))
        return
    model, data, unlabelled = _subject(options)
    cells = [] if options.smoke else _done(options.out, model)
    for key in options.keys:
        for source in options.sources:
            for sparsity in options.sparsities:
                cell = _cell(cells, source, sparsity)
                run = _run(cell, key, options)
                task = make_task(model, data, source, unlabelled, sparsity, key)
                added = measure_missing(
                    task, run, options.rivals, evaluations=options.evaluations, steps=options.steps
                )
                for name in added:
                    print(f"{name}: {line(cell)}", flush=True)
                    if not options.smoke:
                        _write(options.out, model, data, cells)
    if options.smoke:
        print(summary(cells))


def _done(path: Path, model: jp.Model) -> list[Cell]:
    """The cells that earlier calls have left."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    if found["sha256"] != _sha256(model):
        raise SystemExit(f"{path} is of other weights; pass another --out")
    return found["cells"]


def _cell(cells: list[Cell], source: str, sparsity: float) -> Cell:
    """The cell of a source and a sparsity, a new one if need be, in order."""
    for cell in cells:
        if (cell["inputs"], cell["sparsity"]) == (source, sparsity):
            return cell
    cells.append({"inputs": source, "sparsity": sparsity, "runs": []})
    cells.sort(key=lambda cell: (cell["inputs"], cell["sparsity"]))
    return _cell(cells, source, sparsity)


def _run(cell: Cell, key: int, options: argparse.Namespace) -> Run:
    """The run of a key, a new one if need be."""
    for run in cell["runs"]:
        if run["key"] == key:
            ours = run.get("evolved")
            spent = ours["settings"]["evaluations"] if ours else options.evaluations
            if options.evaluations not in (None, spent):
                raise SystemExit(
                    f"{options.out} has runs of {spent} evaluations; pass another --out"
                )
            return run
    about = {"device": device(), "versions": versions(), "commit": commit()}
    cell["runs"].append({"key": key, **about})
    return cell["runs"][-1]


def _subject(options: argparse.Namespace):
    """A model, labelled data, and unlabelled inputs if there are any."""
    if options.smoke:
        return tiny()
    needs = [options.weights, options.eval_data]
    needs += [options.inputs] if "unlabelled" in options.sources else []
    if not all(needs):
        raise SystemExit("WEIGHTS, --eval-data and, if unlabelled, --inputs are needed")
    model = jp.converters.load(options.arch, options.weights)
    data = read_evaluation_data(options.eval_data, model.spec)
    if not options.inputs:
        return model, data, None
    unlabelled = read_inputs(options.inputs, model.spec)
    chosen = np.random.default_rng(0).permutation(len(unlabelled))[:NUM_GIVEN]
    return model, data, unlabelled[chosen]


def _write(path: Path, model: jp.Model, data: Any, cells: list[Cell]) -> None:
    about = {"model": model.spec.name, "sha256": _sha256(model), "num_labelled": len(data[1])}
    write(path, document(__doc__, **about, cells=cells))
    draw(path, cells)


def _sha256(model: jp.Model) -> str | None:
    return model.spec.source and model.spec.source.sha256


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES)
    arguments.add_argument("--evaluations", type=int, help="by default those of `prune`")
    arguments.add_argument(
        "--rivals", nargs="*", choices=RIVALS, default=[STRAIGHT_THROUGH], help="none if empty"
    )
    arguments.add_argument(
        "--steps",
        type=int,
        default=Training().steps,
        help="of the straight-through rival; 0 leaves it out",
    )
    arguments.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES[:2])
    arguments.add_argument("--keys", type=int, nargs="+", default=[0])
    arguments.add_argument("--summary", action="store_true", help="print tables of the JSON file")
    options = arguments.parse_args()
    if options.smoke:
        options.sparsities, options.evaluations, options.steps = (0.5,), 50, 2
        options.sources, options.rivals = [NOISE], [SPARSE_GPT, STRAIGHT_THROUGH, "paper5"]
    if not options.steps:
        options.rivals = [name for name in options.rivals if name != STRAIGHT_THROUGH]
    options.out = out_path(options, f"quality_{options.arch}")
    return options


if __name__ == "__main__":
    main()
