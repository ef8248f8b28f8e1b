"""What does each part of the repair add, and what is lost without it?

One-shot masks, repaired without data: not at all, by the batch-norm delta alone, by one part of
the reconstruction (weights, biases, gains), by all, and by all but one. The reconstruction always
moves batch-norm statistics, too. A language model gets text that it wrote itself, and is measured
by perplexity (lower is better) on other text of its own; a classifier gets synthesised images, and
is measured by accuracy on labelled ones.

    python benchmarks/repairs.py llama stories260K.bin --parts weights gains
    python benchmarks/repairs.py cifar_resnet20 cifar_resnet20.th --eval-data cifar10_test.npz

`--smoke` runs a tiny network with random weights: it proves that the script works and nothing
else.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from documents import document, out_path, parser, write

import jgaprune as jp
from jgaprune.driver.measure import repaired
from jgaprune.inputs.files import read_evaluation_data
from jgaprune.report import accuracy, perplexity
from jgaprune.types import Array, Masks, Repair, Scores

PARTS = ("weights", "biases", "gains")


class Subject(NamedTuple):
    """A model, what it is repaired on `[N, ...]`, and what it is measured on."""

    model: jp.Model
    inputs: Array
    data: tuple[np.ndarray, np.ndarray]


def _magnitude(subject: Subject, sparsity: float) -> Scores:
    return jp.saliency.magnitude(subject.model.params, subject.model.layout, sparsity)


def _lamp(subject: Subject, sparsity: float) -> Scores:
    return jp.saliency.lamp(subject.model.params, subject.model.layout, sparsity)


def _wanda(subject: Subject, sparsity: float) -> Scores:
    return jp.saliency.wanda(subject.model, subject.inputs, sparsity)


MASKS: dict[str, Callable[[Subject, float], Scores]] = {
    "magnitude, global": _magnitude,
    "LAMP": _lamp,
    "Wanda": _wanda,
}


def main() -> None:
    """Repairs every mask in every way."""
    options = _options()
    subject = _subject(options)
    dense = _measured(subject, None, None)
    print(f"dense: {dense:.4f}", flush=True)
    cells: list[dict[str, Any]] = []
    for mask, sparsity, masks in _masks(subject, options):
        for name, repair in _repairs(subject, options.parts):
            reached = _measured(subject, repair, masks)
            cells.append({"mask": mask, "sparsity": sparsity, "repair": name, "reached": reached})
            print(f"{sparsity:.0%} {mask}, {name}: {reached:.4f}", flush=True)
            _write(options, subject, dense, cells)


def _masks(subject: Subject, options: argparse.Namespace) -> Iterator[tuple[str, float, Masks]]:
    for sparsity in options.sparsities:
        for name in options.masks:
            scores = MASKS[name](subject, sparsity)
            yield name, sparsity, jp.saliency.one_shot(scores, subject.model.layout, sparsity)


def _repairs(subject: Subject, parts: list[str]) -> Iterator[tuple[str, Repair | None]]:
    """Those that differ, where these are the parts that a model has."""
    yield "none", None
    if subject.model.spec.norms:
        yield "batch-norm delta", jp.repair.batch_norm_delta(subject.model, subject.inputs)
    for part in parts:
        yield f"{part} only", _reconstruct(subject, [part])
    yield "all", _reconstruct(subject, parts)
    if len(parts) < 3:
        # Of two parts, all but one is the other alone.
        return
    for part in parts:
        yield f"all but {part}", _reconstruct(subject, [one for one in parts if one != part])


def _reconstruct(subject: Subject, parts: list[str]) -> Repair:
    chosen = {part: part in parts for part in PARTS}
    return jp.repair.reconstruct(subject.model, subject.inputs, **chosen)


def _measured(subject: Subject, repair: Repair | None, masks: Masks | None) -> float:
    """Perplexity of a language model, accuracy of a classifier."""
    model = subject.model
    weights = (model.params, model.buffers) if masks is None else repaired(model, repair, masks)
    measure = accuracy if model.spec.vocabulary is None else perplexity
    return measure(model, *weights, *subject.data)


def _subject(options: argparse.Namespace) -> Subject:
    if options.smoke:
        sizes = {"dim": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "hidden": 12}
        return _writer(jp.converters.untrained("llama", **sizes, vocabulary=16, context=9), options)
    if options.arch == "llama":
        # One token more than a window: evaluation needs the token behind the last.
        context = {"context": options.length + 1}
        return _writer(jp.converters.load("llama", options.weights, **context), options)
    if not options.eval_data:
        raise SystemExit("--eval-data is needed for a classifier")
    model = jp.converters.load(options.arch, options.weights)
    make = jp.inputs.synthesize if model.spec.norms else jp.inputs.invert
    inputs = make(model, jax.random.key(options.key), options.inputs)
    images, labels = read_evaluation_data(options.eval_data, model.spec)
    return Subject(model, inputs, (images[: options.evaluated], labels[: options.evaluated]))


def _writer(model: jp.Model, options: argparse.Namespace) -> Subject:
    """A language model and its own text."""
    first, second = jax.random.split(jax.random.key(options.key))
    length = options.length + 1
    written = jp.inputs.sample_tokens(model, first, options.inputs, length)
    text = np.asarray(jp.inputs.sample_tokens(model, second, options.evaluated, length))
    return Subject(model, written, (text[:, :-1], text[:, 1:]))


def _write(options: argparse.Namespace, subject: Subject, dense: float, cells: list) -> None:
    if options.smoke:
        return
    spec = subject.model.spec
    about = {
        "model": {"name": spec.name, **dict(spec.config)},
        "sha256": spec.source and spec.source.sha256,
        "measure": "accuracy" if spec.vocabulary is None else "perplexity",
        "num_inputs": len(subject.inputs),
        "num_evaluated": len(subject.data[0]),
        "key": options.key,
        "dense": dense,
    }
    write(options.out, document(__doc__, **about, cells=cells))


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("arch", nargs="?", default="llama")
    arguments.add_argument("weights", nargs="?")
    arguments.add_argument("--eval-data", help="labelled images for a classifier, .npz")
    arguments.add_argument("--masks", nargs="+", choices=MASKS, default=list(MASKS))
    arguments.add_argument("--sparsities", type=float, nargs="+", default=(0.5, 0.6))
    arguments.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="to take apart")
    arguments.add_argument("--inputs", type=int, default=256, help="windows or images to repair on")
    arguments.add_argument("--evaluated", type=int, help="windows or images to measure on")
    arguments.add_argument("--length", type=int, default=128, help="tokens per window")
    arguments.add_argument("--key", type=int, default=0)
    options = arguments.parse_args()
    if options.smoke:
        options.inputs, options.length, options.evaluated = 4, 8, 4
        options.sparsities, options.masks = (0.5,), ["Wanda"]
    elif not options.weights:
        raise SystemExit("ARCH and WEIGHTS are needed (or --smoke)")
    if options.arch == "llama" and options.evaluated is None:
        options.evaluated = 128
    options.out = out_path(options, f"repairs_{options.arch}")
    return options


if __name__ == "__main__":
    main()
