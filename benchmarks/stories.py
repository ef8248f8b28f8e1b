"""What perplexity is left of a small language model at 50, 60 and 70 % without any data?

Everything that needs inputs gets the same text, which the dense model wrote itself. Perplexity
(lower is better) is measured on other text of the dense model, from a key that nothing else uses,
and on real text where it is given. One-shot methods are shown as published and, where it says so,
with kept weights refitted; the last row is `prune`.

    python benchmarks/stories.py stories260K.bin --tokenizer tok512.bin --text wikitext2_valid.txt

`--smoke` runs a tiny network with random weights: it proves that the script works and nothing
else.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from documents import document, out_path, parser, write
from wordpieces import read_pieces, windows

import jgaprune as jp
from jgaprune.driver.measure import repaired
from jgaprune.report import perplexity
from jgaprune.types import Array, Buffers, Masks, Params, Repair, Scores

_EVALUATED = 128
"""Windows of evaluation text."""


class Subject(NamedTuple):
    """A language model, text to prune on `[N, L]`, and windows `[M, L + 1]` to evaluate by name."""

    model: jp.Model
    written: Array
    texts: dict[str, np.ndarray]


Weights = tuple[Params, Buffers]
Method = Callable[[Subject, Repair, float], Weights]
"""`subject, reconstruction on its text, sparsity -> pruned weights`."""


def _uniform(subject: Subject, sparsity: float) -> Scores:
    return jp.saliency.uniform_magnitude(subject.model.params, subject.model.layout, sparsity)


def _global(subject: Subject, sparsity: float) -> Scores:
    return jp.saliency.magnitude(subject.model.params, subject.model.layout, sparsity)


def _wanda(subject: Subject, sparsity: float) -> Scores:
    return jp.saliency.wanda(subject.model, subject.written, sparsity)


def _masks(subject: Subject, scores: Scores, sparsity: float) -> Masks:
    return jp.saliency.one_shot(scores, subject.model.layout, sparsity)


def _plain(score: Callable[[Subject, float], Scores]) -> Method:
    def prune(subject: Subject, repair: Repair, sparsity: float) -> Weights:
        masks = _masks(subject, score(subject, sparsity), sparsity)
        return repaired(subject.model, None, masks)

    return prune


def _refitted(score: Callable[[Subject, float], Scores]) -> Method:
    def prune(subject: Subject, repair: Repair, sparsity: float) -> Weights:
        masks = _masks(subject, score(subject, sparsity), sparsity)
        return repaired(subject.model, repair, masks)

    return prune


def _gradual(subject: Subject, repair: Repair, sparsity: float) -> Weights:
    scores = jp.saliency.gradual(subject.model, repair, sparsity)
    return repaired(subject.model, repair, _masks(subject, scores, sparsity))


def _sparse_gpt(subject: Subject, repair: Repair, sparsity: float) -> Weights:
    _, params = jp.saliency.sparse_gpt(subject.model, subject.written, sparsity)
    return params, subject.model.buffers


def _sparse_gpt_refitted(subject: Subject, repair: Repair, sparsity: float) -> Weights:
    masks, _ = jp.saliency.sparse_gpt(subject.model, subject.written, sparsity)
    return repaired(subject.model, repair, masks)


PRUNE = "prune"
METHODS: dict[str, Method] = {
    "magnitude, uniform": _plain(_uniform),
    "magnitude, global": _plain(_global),
    "Wanda": _plain(_wanda),
    "SparseGPT": _sparse_gpt,
    "magnitude, uniform, refitted": _refitted(_uniform),
    "magnitude, global, refitted": _refitted(_global),
    "Wanda, refitted": _refitted(_wanda),
    "SparseGPT, refitted": _sparse_gpt_refitted,
    "gradual, refitted": _gradual,
}


def main() -> None:
    """Prunes by every method at every sparsity, under every key."""
    options = _options()
    cells: list[dict[str, Any]] = []
    dense: dict[int, dict[str, float]] = {}
    for key in options.keys:
        subject = _subject(options, key)
        dense[key] = _measured(subject, subject.model.params, subject.model.buffers)
        print(f"key {key}, dense: {dense[key]}", flush=True)
        for sparsity in options.sparsities:
            for name, run in _runs(subject, sparsity, key, options):
                cells.append({"key": key, "sparsity": sparsity, "method": name, **run})
                print(f"{sparsity:.0%} {name}: {run}", flush=True)
                _write(options, subject, dense, cells)


def _runs(subject: Subject, sparsity: float, key: int, options: argparse.Namespace):
    """Name and numbers of every method."""
    repair = jp.repair.reconstruct(subject.model, subject.written)
    for name, method in METHODS.items():
        if name not in options.methods:
            continue
        started = time.perf_counter()
        weights = jax.block_until_ready(method(subject, repair, sparsity))
        seconds = time.perf_counter() - started
        yield name, {"perplexity": _measured(subject, *weights), "seconds": seconds}
    if PRUNE not in options.methods:
        return
    budget = {} if options.evaluations is None else {"evaluations": options.evaluations}
    found = jp.prune(subject.model, sparsity=sparsity, inputs=subject.written, key=key, **budget)
    reached = _measured(subject, found.params, found.buffers)
    about = {"seconds": found.seconds["total"], "evaluations": found.evaluations}
    chosen = {name: found.to_json()[name] for name in ("winner", "candidates", "fitness")}
    yield PRUNE, {"perplexity": reached, **about, **chosen, "settings": found.settings}


def _measured(subject: Subject, params: Params, buffers: Buffers) -> dict[str, float]:
    """Perplexity on each text."""
    return {
        name: perplexity(subject.model, params, buffers, text[:, :-1], text[:, 1:])
        for name, text in subject.texts.items()
    }


def _subject(options: argparse.Namespace, key: int) -> Subject:
    if options.smoke:
        model = _tiny(options.length)
    elif options.weights:
        # One token more than a window: evaluation needs the token behind the last.
        model = jp.converters.load("llama", options.weights, context=options.length + 1)
    else:
        raise SystemExit("WEIGHTS are needed (or --smoke)")
    search_key, other_key = jax.random.split(jax.random.key(key))
    length, num = options.length + 1, 8 if options.smoke else _EVALUATED
    written = jp.inputs.sample_tokens(model, search_key, options.windows, length)
    texts = {"own": np.asarray(jp.inputs.sample_tokens(model, other_key, num, length))}
    if options.tokenizer and options.text:
        pieces = read_pieces(options.tokenizer)
        texts["real"] = windows(options.text, pieces, num, length)
    return Subject(model, jnp.asarray(written), texts)


def _tiny(length: int) -> jp.Model:
    sizes = {"dim": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "hidden": 12}
    return jp.converters.untrained("llama", **sizes, vocabulary=16, context=length + 1)


def _write(options: argparse.Namespace, subject: Subject, dense: dict, cells: list) -> None:
    if options.smoke:
        return
    spec = subject.model.spec
    about = {
        "model": dict(spec.config),
        "sha256": spec.source and spec.source.sha256,
        "num_windows": len(subject.written),
        "num_evaluated": {name: len(text) for name, text in subject.texts.items()},
        "dense": dense,
    }
    write(options.out, document(__doc__, **about, cells=cells))


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("weights", nargs="?")
    arguments.add_argument("--tokenizer", type=Path, help="tok512.bin, for --text")
    arguments.add_argument("--text", type=Path, help="real text to evaluate on, too")
    arguments.add_argument("--sparsities", type=float, nargs="+", default=(0.5, 0.6, 0.7))
    arguments.add_argument("--windows", type=int, default=128, help="of text to prune on")
    arguments.add_argument("--length", type=int, default=128, help="tokens per window")
    names = (*METHODS, PRUNE)
    arguments.add_argument("--methods", nargs="+", choices=names, default=names)
    arguments.add_argument("--evaluations", type=int, help="by default those of `prune`")
    arguments.add_argument("--keys", type=int, nargs="+", default=[0])
    options = arguments.parse_args()
    if options.smoke:
        options.sparsities, options.evaluations = (0.5,), 8
        options.windows, options.length = 8, 8
    options.out = out_path(options, "stories")
    return options


if __name__ == "__main__":
    main()
