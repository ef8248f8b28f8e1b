"""Does the default call find better masks than every one-shot method with the same repair?

`prune` with nothing set but the sparsity, without any data and with 256 unlabelled images, for
every sparsity and key; a key changes the synthesised inputs and the search. Beside it the one-shot
methods of the same run, with the same repair and without any, and masks trained straight through
on the same inputs. The labelled test images are seen by the report only.

    python benchmarks/quality.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz

Writes a JSON file after each cell, and a picture beside it. `--smoke` runs a tiny network on
noise: it proves that the script works and nothing else.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from documents import COLOURS, document, out_path, picture, write
from jax.tree_util import Partial
from subjects import NUM_GIVEN, parser, tiny

import jgaprune as jp
from jgaprune.driver.inputs import make_inputs
from jgaprune.driver.measure import repaired
from jgaprune.driver.wiring import split_key
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.report import accuracy
from jgaprune.saliency import Training

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def main() -> None:
    """Measures every source of inputs at every sparsity, under every key."""
    options = _options()
    model, data, sources = _subject(options)
    cells: list[dict[str, Any]] = []
    for source in options.sources or sources:
        for sparsity in options.sparsities:
            runs = [_run(model, data, sources[source], sparsity, k, options) for k in options.keys]
            cells.append({"inputs": source, "sparsity": sparsity, "runs": runs})
            print(_line(cells[-1]), flush=True)
            if not options.smoke:
                _write(options.out, model, data, cells)


def _subject(options: argparse.Namespace):
    """A model, labelled data, and what the user gives, by name."""
    if options.smoke:
        model, data, inputs = tiny()
        return model, data, {"unlabelled": np.asarray(inputs)}
    if not (options.weights and options.inputs and options.eval_data):
        raise SystemExit("WEIGHTS, --inputs and --eval-data are needed (or --smoke)")
    model = jp.converters.load(options.arch, options.weights)
    unlabelled = read_inputs(options.inputs, model.spec)
    chosen = np.random.default_rng(0).permutation(len(unlabelled))[:NUM_GIVEN]
    data = read_evaluation_data(options.eval_data, model.spec)
    return model, data, {"none": None, "unlabelled": unlabelled[chosen]}


def _run(model, data, given, sparsity: float, key: int, options) -> dict[str, Any]:
    budget = {} if options.evaluations is None else {"evaluations": options.evaluations}
    found = jp.prune(
        model, sparsity=sparsity, inputs=given, key=key, evaluation_data=data, **budget
    )
    report = found.to_json()
    run = {
        "key": key,
        "dense": report["accuracy"]["dense"],
        "baselines": report["baselines"],
        "evolved": {
            "accuracy": report["accuracy"]["pruned"],
            "fitness": report["fitness"],
            "evaluations": report["evaluations"],
            "settings": report["settings"],
            "seconds": report["seconds"],
        },
    }
    if options.steps:
        run["straight_through"] = _straight_through(
            model, data, given, sparsity, key, options.steps
        )
    return run


def _straight_through(model, data, given, sparsity: float, key: int, steps: int) -> dict[str, Any]:
    """Masks trained from LAMP on the same inputs, weights untouched, with both repairs."""
    inputs = make_inputs(model, given, "auto", split_key(key).inputs, supplement=True)
    layout, started = model.layout, time.perf_counter()
    magnitude = jp.saliency.magnitude(model.params, layout, sparsity)
    space = jp.spaces.offsets(magnitude, layout, sparsity)
    lamp = jp.saliency.lamp(model.params, layout, sparsity)
    offsets = space.encode(jp.saliency.one_shot(lamp, layout, sparsity))
    start = {
        name: magnitude[name] * np.exp(offset)
        for name, offset in zip(layout.names, np.asarray(offsets), strict=True)
    }
    scores = jp.saliency.straight_through(
        Partial(_imitation, model),
        model.params,
        start,
        layout,
        sparsity,
        inputs.all,
        jax.random.key(key),
        settings=Training(steps=steps),
        vary=jp.inputs.vary,
    )
    masks = jp.saliency.one_shot(scores, layout, sparsity)
    seconds = time.perf_counter() - started
    first = inputs.all[: inputs.num_for_repair]
    repairs = {
        "batch_norm_delta": jp.repair.batch_norm_delta(model, first),
        "reconstruct": jp.repair.reconstruct(model, first),
    }
    reached = {
        name: accuracy(model, *repaired(model, repair, masks), *data)
        for name, repair in repairs.items()
    }
    return {"accuracy": reached, "steps": steps, "seconds": seconds}


def _imitation(model, params, inputs):
    """Error of the centred logits after the batch-norm delta on the batch."""
    logits, _, _ = jp.repair.batch_norm_delta(model, inputs).fit(params, model.buffers)
    dense = model.apply(model.params, model.buffers, inputs)
    return jp.objectives.compare_logits(logits, dense)[0]


def curves(cell: dict[str, Any]) -> dict[str, list[float]]:
    """Accuracy of every method, after its repair, one number per key."""
    runs = cell["runs"]
    found = {
        name: [run["baselines"][name]["repaired"]["accuracy"] for run in runs]
        for name in runs[0]["baselines"]
    }
    for repair in runs[0].get("straight_through", {"accuracy": ()})["accuracy"]:
        found[f"straight_through, {repair}"] = [
            run["straight_through"]["accuracy"][repair] for run in runs
        ]
    found["evolved"] = [run["evolved"]["accuracy"] for run in runs]
    return found


def _line(cell: dict[str, Any]) -> str:
    shown = {name: round(100 * statistics.mean(one), 1) for name, one in curves(cell).items()}
    dense = 100 * cell["runs"][0]["dense"]
    return f"{cell['inputs']} {cell['sparsity']:.0%} (dense {dense:.1f}): {shown}"


def _write(path: Path, model, data, cells: list[dict[str, Any]]) -> None:
    about = {
        "model": model.spec.name,
        "sha256": model.spec.source and model.spec.source.sha256,
        "num_labelled": len(data[1]),
    }
    write(path, document(__doc__, **about, cells=cells))
    sources = list(dict.fromkeys(cell["inputs"] for cell in cells))
    with picture(path, 6 * len(sources), 4.5, panels=len(sources)) as axes:
        for one, source in zip(axes, sources, strict=True):
            _draw(one, source, [cell for cell in cells if cell["inputs"] == source])


def _draw(axes: Any, source: str, cells: list[dict[str, Any]]) -> None:
    """Accuracy over sparsity, a line per method, with the spread over keys."""
    places = [cell["sparsity"] for cell in cells]
    for number, name in enumerate(curves(cells[0])):
        values = [curves(cell)[name] for cell in cells]
        axes.errorbar(
            places,
            [100 * statistics.mean(one) for one in values],
            [100 * statistics.stdev(one) if len(one) > 1 else 0.0 for one in values],
            label=name,
            color=None if name != "evolved" else COLOURS[1],
            linewidth=2.5 if name == "evolved" else 1,
            linestyle="-" if number % 2 else "--",
        )
    axes.set(xlabel="sparsity", ylabel="accuracy after repair, %", title=f"inputs: {source}")
    axes.legend(fontsize=6)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES)
    arguments.add_argument("--evaluations", type=int, help="by default those of `prune`")
    arguments.add_argument(
        "--steps", type=int, default=200, help="of the straight-through rival; 0 leaves it out"
    )
    arguments.add_argument("--sources", nargs="+", choices=("none", "unlabelled"))
    arguments.add_argument("--keys", type=int, nargs="+", default=[0])
    options = arguments.parse_args()
    if options.smoke:
        options.sparsities, options.evaluations, options.steps = (0.5,), 16, 2
        options.sources = None
    options.out = out_path(options, f"quality_{options.arch}")
    return options


if __name__ == "__main__":
    main()
