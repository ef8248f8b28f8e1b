"""Does the default call find better networks than every one-shot method with the same repair?

`prune` with nothing set but the sparsity, without any data and with 256 unlabelled images, for
every sparsity and key; a key changes the synthesised inputs and the search. Beside it, on the same
inputs, the one-shot methods without repair, with the repair of the search, and the best of them
(by fitness) with its weights distilled as long as ours; and masks trained straight through from
LAMP, weights untouched. The labelled test images are seen by the report only.

    python benchmarks/quality.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz

Writes a JSON file after each run, and a picture beside it; runs that it holds already are not done
again. `--smoke` runs a tiny network on noise: it proves that the script works and nothing else.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from documents import COLOURS, document, out_path, picture, write
from subjects import NUM_GIVEN, parser, tiny

import jgaprune as jp
from jgaprune.driver.finish import hold_out
from jgaprune.driver.inputs import Inputs, make_inputs
from jgaprune.driver.measure import repaired
from jgaprune.driver.train import distilled, train_masks
from jgaprune.driver.wiring import make_repair, split_key
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.report import accuracy

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
PUBLISHED = {
    "magnitude": jp.saliency.magnitude,
    "uniform_magnitude": jp.saliency.uniform_magnitude,
    "lamp": jp.saliency.lamp,
    "erk": jp.saliency.erk,
    "lookahead": jp.saliency.lookahead,
}
FROM_MODEL = {
    "synflow": lambda model, inputs, sparsity: jp.saliency.synflow(model, sparsity),
    "wanda": jp.saliency.wanda,
    "obs": jp.saliency.obs,
    "exact_obs": jp.saliency.exact_obs,
}


def main() -> None:
    """Measures every source of inputs at every sparsity, under every key."""
    options = _options()
    model, data, sources = _subject(options)
    cells = [] if options.smoke else _done(options.out)
    for key in options.keys:
        for source in options.sources or sources:
            for sparsity in options.sparsities:
                cell = _cell(cells, source, sparsity)
                if any(run["key"] == key for run in cell["runs"]):
                    continue
                cell["runs"].append(_run(model, data, sources[source], sparsity, key, options))
                print(_line(cell), flush=True)
                if not options.smoke:
                    _write(options.out, model, data, cells)


def _done(path: Path) -> list[dict[str, Any]]:
    """The cells that an earlier call has left."""
    return json.loads(path.read_text())["cells"] if path.exists() else []


def _cell(cells: list[dict[str, Any]], source: str, sparsity: float) -> dict[str, Any]:
    """The cell of a source and a sparsity, a new one if need be, in order."""
    for cell in cells:
        if (cell["inputs"], cell["sparsity"]) == (source, sparsity):
            return cell
    cells.append({"inputs": source, "sparsity": sparsity, "runs": []})
    cells.sort(key=lambda cell: (cell["inputs"], cell["sparsity"]))
    return _cell(cells, source, sparsity)


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
    keys = split_key(key)
    inputs = hold_out(make_inputs(model, given, "auto", keys.inputs, supplement=True), keys.choice)
    run = {
        "key": key,
        "dense": report["accuracy"]["dense"],
        "baselines": report["baselines"],
        "evolved": {
            "accuracy": report["accuracy"]["pruned"],
            **{name: report[name] for name in ("winner", "candidates", "fitness", "trust")},
            **{name: report[name] for name in ("evaluations", "settings", "seconds")},
        },
    }
    steps = report["settings"]["train_steps"]["weights"]
    run["distilled"] = _distilled(model, data, inputs, sparsity, run["baselines"], steps, keys)
    if options.steps:
        run["straight_through"] = _straight_through(
            model, data, inputs, sparsity, options.steps, keys
        )
    return run


def _distilled(model, data, inputs: Inputs, sparsity: float, baselines, steps: int, keys):
    """The best published one-shot mask, refitted and then distilled like ours."""
    published = [name for name in baselines if name in (*PUBLISHED, *FROM_MODEL)]
    best = min(published, key=lambda name: baselines[name]["repaired"]["fitness"])
    if best in PUBLISHED:
        scores = PUBLISHED[best](model.params, model.layout, sparsity)
    else:
        scores = FROM_MODEL[best](model, inputs.for_repair, sparsity)
    masks = jp.saliency.one_shot(scores, model.layout, sparsity)
    weights = repaired(model, make_repair(model, inputs, "reconstruct"), masks)
    trained = distilled(model, weights, masks, inputs, steps, keys.weights)
    return {"of": best, "accuracy": accuracy(model, *trained, *data)}


def _straight_through(model, data, inputs: Inputs, sparsity: float, steps: int, keys):
    """Masks trained from LAMP, weights untouched, with both repairs."""
    started = time.perf_counter()
    lamp = {"lamp": jp.saliency.lamp(model.params, model.layout, sparsity)}
    scores = train_masks(model, sparsity, inputs.all, lamp, None, steps, keys.masks)
    masks = jp.saliency.one_shot(scores, model.layout, sparsity)
    seconds = time.perf_counter() - started
    reached = {
        name: accuracy(model, *repaired(model, make_repair(model, inputs, name), masks), *data)
        for name in ("batch_norm_delta", "reconstruct")
    }
    return {"accuracy": reached, "steps": steps, "seconds": seconds}


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
    found["best one-shot, distilled"] = [run["distilled"]["accuracy"] for run in runs]
    found["evolved, refitted"] = [
        run["evolved"]["candidates"]["evolved"]["accuracy"] for run in runs
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
        "--steps", type=int, default=300, help="of the straight-through rival; 0 leaves it out"
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
