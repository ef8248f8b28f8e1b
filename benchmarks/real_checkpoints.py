"""What is left of real checkpoints at 50 %, pruned by the default call without any data?

LeNet-5 on MNIST is measured by accuracy on 5000 test images, stories260K by perplexity on text that
the dense model wrote under a key of its own; the search sees neither. Beside it, the best of the
published one-shot methods by that measure, which favours them: as published, and with the repair
of the search. ResNets are in `quality.py`, other sparsities of the language model in `stories.py`.

    python benchmarks/real_checkpoints.py FOLDER --checkpoints lenet5 stories

FOLDER holds mnist_lenet5.pt, mnist_test.npz and stories260K.bin. The JSON file keeps what an
earlier call measured of other checkpoints. `--summary` prints its table. `--smoke` prunes tiny
networks with random weights: it proves that the script works and nothing else.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from documents import document, out_path, parser, write
from quality_methods import ONE_SHOT
from subjects import tiny

import jgaprune as jp
from jgaprune.driver.measure import EvaluationData
from jgaprune.driver.presets import PRESETS
from jgaprune.inputs.files import read_evaluation_data

SPARSITY = 0.5
_CONTEXT = 128
_WINDOWS = 128
_KEY_OF_TEXT = 1_000
_TINY = {"evaluations": 8, "train_steps": 0, "num_inputs": 8}
_HEADS = ("checkpoint", "measure", "dense", "best one-shot", "best one-shot, repaired", "prune")
Row = dict[str, Any]


class Subject(NamedTuple):
    """A network, labelled data that only the report sees, and the call's other arguments."""

    model: jp.Model
    data: EvaluationData
    choices: dict[str, Any]


def main() -> None:
    """Prunes every checkpoint once."""
    options = _options()
    rows = _earlier(options)
    for name in options.checkpoints if not options.summary else ():
        rows[name] = _measured(CHECKPOINTS[name](options), options)
        print(_table({name: rows[name]}), flush=True)
        if not options.smoke:
            about = {"sparsity": SPARSITY, "preset": options.preset, "key": options.key}
            write(options.out, document(__doc__, **about, checkpoints=rows))
    print(_table(rows))


def _measured(subject: Subject, options: argparse.Namespace) -> Row:
    report = jp.prune(
        subject.model,
        sparsity=SPARSITY,
        preset=options.preset,
        key=options.key,
        evaluation_data=subject.data,
        **subject.choices,
    ).to_json()
    measure = "perplexity" if report["perplexity"] else "accuracy"
    kept = ("baselines", "candidates", "winner", "fitness", "evaluations", "seconds", "settings")
    source = report["model"]["source"]
    return {
        "model": {"name": report["model"]["name"], "config": report["model"]["config"]},
        "sha256": source and source["sha256"],
        "num_labelled": len(subject.data[1]),
        "measure": measure,
        **report[measure],
        **{name: report[name] for name in kept},
    }


def _lenet5(options: argparse.Namespace) -> Subject:
    if options.smoke:
        model, data, _ = tiny()
        return Subject(model, data, _TINY)
    model = jp.converters.load("lenet5", options.folder / "mnist_lenet5.pt")
    return Subject(model, read_evaluation_data(options.folder / "mnist_test.npz", model.spec), {})


def _stories(options: argparse.Namespace) -> Subject:
    if options.smoke:
        writer, model = (_tiny_llama(context) for context in (9, 8))
        return Subject(model, _text(writer, 4), _TINY)
    path = options.folder / "stories260K.bin"
    writer, model = (
        jp.converters.load("llama", path, context=context) for context in (_CONTEXT + 1, _CONTEXT)
    )
    return Subject(model, _text(writer, _WINDOWS), {})


def _tiny_llama(context: int) -> jp.Model:
    sizes = {"dim": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "hidden": 12}
    return jp.converters.untrained("llama", **sizes, vocabulary=16, context=context)


def _text(writer: jp.Model, count: int) -> EvaluationData:
    """Windows that a model writes itself, one token longer than inputs, and what follows each."""
    key, (length,) = jax.random.key(_KEY_OF_TEXT), writer.spec.input_shape
    tokens = np.asarray(jp.inputs.sample_tokens(writer, key, count, length))
    return tokens[:, :-1], tokens[:, 1:]


CHECKPOINTS: dict[str, Callable[[argparse.Namespace], Subject]] = {
    "lenet5": _lenet5,
    "stories": _stories,
}


def _table(rows: dict[str, Row]) -> str:
    """In Markdown."""
    lines = [_HEADS, ["---"] * len(_HEADS)]
    for name, row in rows.items():
        best = [_best(row, repaired) for repaired in ("raw", "repaired")]
        ends = [_shown(row, row["dense"]), *best, _shown(row, row["pruned"])]
        lines.append([name, row["measure"], *ends])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _best(row: Row, form: str) -> str:
    """The best one-shot method by the measure that the table shows."""
    sign = 1 if row["measure"] == "perplexity" else -1
    found = {
        name: one[form][row["measure"]]
        for name, one in row["baselines"].items()
        if name in ONE_SHOT
    }
    known = {name: value for name, value in found.items() if value is not None}
    best = min(known, key=lambda name: sign * known[name])
    return f"{_shown(row, known[best])} ({best})"


def _shown(row: Row, value: float) -> str:
    return f"{value:.2f}" if row["measure"] == "perplexity" else f"{100 * value:.2f} %"


def _earlier(options: argparse.Namespace) -> dict[str, Row]:
    """What earlier calls have measured."""
    if options.smoke or not options.out.exists():
        return {}
    return json.loads(options.out.read_text())["checkpoints"]


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("folder", nargs="?", type=Path)
    arguments.add_argument("--checkpoints", nargs="+", choices=CHECKPOINTS, default=[*CHECKPOINTS])
    arguments.add_argument("--preset", choices=PRESETS, default="default")
    arguments.add_argument("--key", type=int, default=0)
    arguments.add_argument(
        "--summary", action="store_true", help="print the table of the JSON file"
    )
    options = arguments.parse_args()
    if not (options.folder or options.smoke or options.summary):
        raise SystemExit("FOLDER is needed (or --smoke, or --summary)")
    options.out = out_path(options, "real_checkpoints")
    return options


if __name__ == "__main__":
    main()
