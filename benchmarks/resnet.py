"""Do evolved masks beat one-shot masks with the same repair, on a real network, without labels?

The default call of `prune` on a CIFAR-10 ResNet at several sparsities, without any data and with
256 unlabelled JPEG images. Baselines come from the same run, with and without the same repair;
evolved masks from several keys of the search on the same inputs. The labelled test images are
seen by the report only.

    python benchmarks/resnet.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz

`--smoke` runs a tiny network on noise: it proves that the script works and nothing else.
"""

import itertools
import json
import os
import statistics
from pathlib import Path

from subjects import RESULTS, parser, subject

import jgaprune as jp
from jgaprune.driver.budget import DEFAULT_EVALUATIONS
from jgaprune.report.environment import device, versions

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9)


def main() -> None:
    """Runs every cell and writes one JSON after each, so that a stopped run keeps its cells."""
    arguments = _arguments()
    model, data, repairs = subject(arguments)
    cells = _kept_cells(arguments)
    document = {
        "question": __doc__.partition("\n")[0],
        "model": model.spec.name,
        "sha256": model.spec.source and model.spec.source.sha256,
        "key_of_inputs": arguments.key,
        "keys": arguments.keys,
        "num_labelled": len(data[1]),
        "device": device(),
        "versions": versions(),
        "cells": cells,
    }
    for source in arguments.sources or repairs:
        repair = repairs[source]
        budgets = zip(arguments.sparsities, itertools.cycle(arguments.evaluations), strict=False)
        for sparsity, evaluations in budgets:
            cells.append(_cell(model, source, repair, sparsity, evaluations, data, arguments.keys))
            print(_line(cells[-1]), flush=True)
            _write(arguments.out, document)


def _kept_cells(arguments) -> list[dict]:
    """Those of an earlier run that are not to be measured again."""
    if not arguments.sources or not arguments.out.is_file():
        return []
    earlier = json.loads(arguments.out.read_text())["cells"]
    return [cell for cell in earlier if cell["inputs"] not in arguments.sources]


def _cell(model, source, repair, sparsity, evaluations, data, keys) -> dict:
    reports = [
        jp.prune(
            model,
            sparsity=sparsity,
            repair=repair,
            evaluations=evaluations,
            key=key,
            evaluation_data=data,
        )
        for key in keys
    ]
    first = reports[0].to_json()
    return {
        "inputs": source,
        "num_inputs": len(repair.inputs),
        "sparsity": sparsity,
        "dense": first["accuracy"]["dense"],
        "baselines": first["baselines"],
        "evolved": [
            {
                "accuracy": report.accuracy["pruned"],
                "fitness": report.fitness,
                "evaluations": report.evaluations,
                "seconds": report.seconds,
            }
            for report in reports
        ],
    }


def _line(cell: dict) -> str:
    repaired = {
        name: round(100 * baseline["repaired"]["accuracy"], 2)
        for name, baseline in cell["baselines"].items()
    }
    ours = sorted(round(100 * run["accuracy"], 2) for run in cell["evolved"])
    what = f"inputs {cell['inputs']}, {cell['sparsity']:.0%}"
    return (
        f"{what}: evolved {statistics.median(ours)} ({ours[0]} to {ours[-1]}), "
        f"one-shot repaired {repaired}"
    )


def _write(path: Path, document: dict) -> None:
    text = json.dumps(document, indent=1) + "\n"
    if path == Path(os.devnull):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def _arguments():
    arguments = parser(__doc__)
    arguments.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES)
    arguments.add_argument(
        "--evaluations", type=int, nargs="+", default=(DEFAULT_EVALUATIONS,), help="per sparsity"
    )
    arguments.add_argument(
        "--sources",
        nargs="+",
        choices=("none", "unlabelled"),
        help="measure these alone, and keep the cells of an earlier run",
    )
    arguments.add_argument("--keys", type=int, nargs="+", default=(0, 1, 2), help="of the search")
    chosen = arguments.parse_args()
    if chosen.smoke:
        chosen.sparsities, chosen.evaluations, chosen.keys = (0.5,), (32,), (0, 1)
        chosen.out = Path(os.devnull)
    chosen.out = chosen.out or RESULTS / f"{chosen.arch}.json"
    return chosen


if __name__ == "__main__":
    main()
