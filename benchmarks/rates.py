"""At which learning rates and batches do pruned networks come nearest to the dense one?

The best one-shot masks (ExactOBS), refitted, are trained as `prune` trains them: masks and weights
together, then the weights; and the same masks distilled for as many steps as both. Each at every
rate and under every key, without the search between them. Inputs are 256 of those given or, for
language models, text that the model writes; without `--inputs`, those that `prune` makes. Distance
and agreement are measured on inputs that nothing was trained on.

    python benchmarks/rates.py WEIGHTS --arch cifar_resnet20 --unseen UNLABELLED.npz --sparsity 0.95

Writes a JSON file after each run; runs that it holds already are not done again. `--smoke` runs a
tiny network on noise: it proves that the script works and nothing else.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from documents import commit, document, out_path, runs_done, write
from subjects import NUM_GIVEN, parser, tiny

import jgaprune as jp
from jgaprune.driver.inputs import Inputs, hold_out, make_inputs
from jgaprune.driver.measure import repaired
from jgaprune.driver.train import with_statistics
from jgaprune.driver.wiring import split_key
from jgaprune.inputs import variation_of
from jgaprune.inputs.files import read_inputs
from jgaprune.objectives import compare_decisions, compare_logits
from jgaprune.saliency import exact_obs, one_shot, ranked
from jgaprune.training import Training, distil, imitation, straight_through
from jgaprune.types import Array, Buffers, Masks, Params, Scores

_AT_ONCE = 128
_WINDOWS = 64


class Subject(NamedTuple):
    """A network, the inputs it is given, if any, and others to measure it on."""

    model: jp.Model
    given: Array | np.ndarray | None
    unseen: Array | np.ndarray


class Start(NamedTuple):
    """Inputs, and what all rates start from: scores, their masks, and weights refitted to them."""

    inputs: Inputs
    scores: Scores
    masks: Masks
    params: Params


def main() -> None:
    """Trains at every rate under every key."""
    options = _options()
    subject = _subject(options)
    about = {
        "model": subject.model.spec.name,
        "sparsity": options.sparsity,
        "inputs": options.inputs is not None,
        "num_unseen": len(subject.unseen),
    }
    path = out_path(options, f"rates_{subject.model.spec.name}")
    runs = [] if options.smoke else runs_done(path, about)
    for key in options.keys:
        asked = [
            Training(options.steps, options.batch, options.score_rate, rate)
            for rate in options.rates
        ]
        missing = [one for one in asked if not _holds(runs, key, one)]
        for run in _runs(subject, key, missing, options):
            print(run, flush=True)
            runs.append(run)
            if not options.smoke:
                write(path, document(__doc__, **about, runs=runs))


def _holds(runs: list[dict[str, Any]], key: int, settings: Training) -> bool:
    return any((run["key"], run["settings"]) == (key, asdict(settings)) for run in runs)


def _runs(
    subject: Subject, key: int, asked: list[Training], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    if not asked:
        return
    start = _start(subject, options.sparsity, key)
    for settings in asked:
        started = time.perf_counter()
        ways = {
            "trained, distilled": _trained(subject.model, start, options.sparsity, key, settings),
            "one-shot, distilled": _one_shot(subject.model, start, key, settings),
        }
        found = {name: _measured(subject, *weights) for name, weights in ways.items()}
        seconds = time.perf_counter() - started
        about = {"key": key, "settings": asdict(settings), "commit": commit()}
        yield {**about, **found, "seconds": seconds}


def _start(subject: Subject, sparsity: float, key: int) -> Start:
    model, keys = subject.model, split_key(key)
    inputs = make_inputs(model, subject.given, "distil", keys.inputs, supplement=True)
    inputs = hold_out(inputs, keys.choice)
    scores = exact_obs(model, inputs.for_repair, sparsity)
    masks = one_shot(scores, model.layout, sparsity)
    refitted, _ = repaired(model, jp.repair.reconstruct(model, inputs.for_repair), masks)
    kept = {
        name: jnp.where(mask, refitted[name], model.params[name]) for name, mask in masks.items()
    }
    return Start(inputs, ranked(scores, model.layout, sparsity), masks, {**refitted, **kept})


def _trained(
    model: jp.Model, start: Start, sparsity: float, key: int, settings: Training
) -> tuple[Params, Buffers]:
    """Masks and weights trained, then the weights."""
    trained = straight_through(
        imitation(model),
        start.params,
        start.scores,
        model.layout,
        sparsity,
        start.inputs.all,
        split_key(key).masks,
        settings=settings,
        vary=variation_of(model.spec),
    )
    masks = one_shot(trained.scores, model.layout, sparsity)
    return _distilled(model, start, trained.params, masks, key, settings)


def _one_shot(
    model: jp.Model, start: Start, key: int, settings: Training
) -> tuple[Params, Buffers]:
    """The weights trained for as many steps."""
    longer = replace(settings, steps=2 * settings.steps)
    return _distilled(model, start, start.params, start.masks, key, longer)


def _distilled(
    model: jp.Model, start: Start, params: Params, masks: Masks, key: int, settings: Training
) -> tuple[Params, Buffers]:
    train_key, seen_key = jax.random.split(split_key(key).weights)
    vary = variation_of(model.spec)
    loss, seen = imitation(model), start.inputs.all
    params = distil(loss, params, masks, seen, train_key, settings=settings, vary=vary)
    return with_statistics(model, start.inputs, seen_key)(params, masks)


def _measured(subject: Subject, params: Params, buffers: Buffers) -> dict[str, float]:
    """Distance from the dense network, relative, and how often both decide alike."""
    model, unseen = subject.model, subject.unseen
    dense = _logits(model, unseen, model.params, model.buffers)
    pruned = _logits(model, unseen, params, buffers)
    distance, _ = compare_logits(pruned, dense)
    other, _ = compare_decisions(pruned, dense)
    return {"distance": float(distance), "agreement": 1.0 - float(other)}


def _logits(model: jp.Model, inputs: Any, params: Params, buffers: Buffers) -> Array:
    """`[N, C]`, of tokens those at every place."""
    parts = [inputs[start : start + _AT_ONCE] for start in range(0, len(inputs), _AT_ONCE)]
    logits = [jax.jit(model.apply)(params, buffers, jnp.asarray(part)) for part in parts]
    return jnp.concatenate([one.reshape(-1, one.shape[-1]) for one in logits])


def _subject(options: argparse.Namespace) -> Subject:
    if options.smoke:
        model, _, inputs = tiny()
        return Subject(model, None, inputs)
    if not options.weights:
        raise SystemExit("WEIGHTS are needed (or --smoke)")
    if options.arch == "llama":
        model = jp.converters.load(options.arch, options.weights, context=options.length)
        write_text = partial(jp.inputs.sample_tokens, model, length=options.length)
        own, other = jax.random.split(jax.random.key(options.key))
        return Subject(model, write_text(own, _WINDOWS), write_text(other, _AT_ONCE))
    if not options.unseen:
        raise SystemExit("--unseen is needed: inputs to measure on")
    model = jp.converters.load(options.arch, options.weights)
    given = options.inputs and read_inputs(options.inputs, model.spec)[:NUM_GIVEN]
    return Subject(model, given, read_inputs(options.unseen, model.spec))


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--unseen", help="images to measure on, .npz")
    arguments.add_argument("--sparsity", type=float, default=0.95)
    arguments.add_argument("--rates", type=float, nargs="+", default=[0.025, 0.05, 0.1])
    arguments.add_argument("--score-rate", type=float, default=Training().score_rate)
    arguments.add_argument("--steps", type=int, default=Training().steps, help="of each training")
    arguments.add_argument("--batch", type=int, default=Training().batch, help="inputs per step")
    arguments.add_argument("--length", type=int, default=128, help="tokens per window")
    arguments.add_argument("--keys", type=int, nargs="+", default=[0])
    options = arguments.parse_args()
    if options.smoke:
        options.sparsity, options.steps, options.rates = 0.5, 2, [0.1]
    return options


if __name__ == "__main__":
    main()
