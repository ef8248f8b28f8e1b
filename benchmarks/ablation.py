"""What does each part of the default call add, and what would random search or a climber find?

`prune` on one network, at one sparsity, without data or with 256 unlabelled inputs, as it is, with
one part left out or added at a time or with another preset, under the same keys. Random search
draws masks from the same space, hill climbing has one parent and two children; both get as many
evaluations, and the same training and repair; the climber starts from the best two seeds.

    python benchmarks/ablation.py WEIGHTS --arch cifar_resnet20 --inputs UNLABELLED.npz \
        --eval-data TEST.npz --sparsity 0.9

Writes a JSON file after each run, and a picture of fitness and accuracy over evaluations and
seconds (those of the whole search, in proportion to evaluations) beside it; runs that it holds
already are not done again.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from documents import commit, document, out_path, picture, runs_done, write
from subjects import NUM_GIVEN, parser, tiny

import jgaprune as jp
from jgaprune.inputs.files import read_evaluation_data, read_inputs

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "nothing trained": {"train_steps": 0},
    "weights not distilled": {"repair": "reconstruct"},
    "weights untouched": {"repair": "batch_norm_delta", "evaluations": 120},
    "one base": {"space": "offsets", "repair": "distil"},
    "levels on one base": {"space": "levels", "repair": "distil"},
    "bases, then weights": {"space": "bases,weights", "repair": "distil"},
    "bases, then weights, no gradient": {
        "space": "bases,weights",
        "repair": "distil",
        "gradient_swaps": False,
    },
    "no seeds": {"seeds": False},
    "128 inputs": {"num_inputs": 128},
    "random search": {"evolver": "random_search"},
    "hill climbing": {"evolver": "level_switch", "population": 2},
    "racing": {"racing": True},
    "racing, two looks": {"racing": (jp.Racing(1 / 16, 1 / 2), jp.Racing(1 / 4, 1 / 4))},
    "preset fast": {"preset": "fast"},
    "preset thorough": {"preset": "thorough"},
}
REACHED = "accuracy of the best, refitted, %"
SEARCHES = {
    "default": "-",
    "random search": "--",
    "hill climbing": "-",
    "racing": ":",
    "bases, then weights": "--",
}
"""Those that are drawn, and by which line: some lie upon each other."""


def main() -> None:
    """Runs every variant under every key."""
    options = _options()
    model, data, given = _subject(options)
    about = _about(options, model, data)
    runs = [] if options.smoke else runs_done(options.out, about)
    for key in options.keys:
        for name in options.variants:
            if any((run["variant"], run["key"]) == (name, key) for run in runs):
                continue
            runs.append(_run(model, data, given, name, key, options))
            print(_line(runs, name), flush=True)
            if not options.smoke:
                _write(options.out, about, runs)


def _about(options: argparse.Namespace, model: jp.Model, data: Any) -> dict[str, Any]:
    """What all runs of a file have in common."""
    return {
        "model": model.spec.name,
        "sha256": model.spec.source and model.spec.source.sha256,
        "sparsity": options.sparsity,
        "evaluations": options.evaluations,
        "inputs": "unlabelled" if options.inputs else "none",
        "num_labelled": len(data[1]),
    }


def _subject(options: argparse.Namespace):
    if options.smoke:
        model, data, _ = tiny()
        return model, data, None
    if not (options.weights and options.eval_data):
        raise SystemExit("WEIGHTS and --eval-data are needed (or --smoke)")
    model = jp.converters.load(options.arch, options.weights)
    data = read_evaluation_data(options.eval_data, model.spec)
    return model, data, options.inputs and read_inputs(options.inputs, model.spec)[:NUM_GIVEN]


def _run(model, data, given, name: str, key: int, options: argparse.Namespace) -> dict[str, Any]:
    budget = {"evaluations": options.evaluations} if options.evaluations else {}
    report = jp.prune(
        model,
        sparsity=options.sparsity,
        inputs=given if given is None else given[: VARIANTS[name].get("num_inputs")],
        key=key,
        evaluation_data=data,
        **{**VARIANTS[name], **budget},
    ).to_json()
    kept = ("accuracy", "fitness", "winner", "candidates", "trust", "evaluations", "seconds")
    return {
        "variant": name,
        "key": key,
        "commit": commit(),
        **{part: report[part] for part in kept},
        "settings": report["settings"],
        "history": report["history"],
    }


def _line(runs: list[dict[str, Any]], name: str) -> str:
    mine = [run for run in runs if run["variant"] == name]
    reached = [100 * run["accuracy"]["pruned"] for run in mine]
    spread = statistics.stdev(reached) if len(reached) > 1 else 0.0
    best = statistics.mean(run["fitness"]["best"] for run in mine)
    seconds = statistics.mean(run["seconds"]["total"] for run in mine)
    return (
        f"{name}: {statistics.mean(reached):.1f} +- {spread:.1f} %, fitness {best:.4f}, "
        f"{seconds:.0f} s, {len(mine)} keys"
    )


def _write(path: Path, about: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    write(path, document(__doc__, **about, runs=runs))
    with picture(path, 16, 4, panels=4) as axes:
        for name, style in SEARCHES.items():
            mine = [run for run in runs if run["variant"] == name]
            for run in mine[:1]:
                _draw(axes, run, style)
        for panel in axes:
            panel.legend(fontsize=7)


def _draw(axes: Any, run: dict[str, Any], style: str) -> None:
    """Fitness and accuracy, over evaluations and over seconds."""
    history, seconds = run["history"], run["seconds"]["search"]
    look = {"where": "post", "label": run["variant"], "linestyle": style}
    evaluations = history["evaluations"]
    times = [seconds * count / evaluations[-1] for count in evaluations]
    axes[0].step(evaluations, history["best"], **look)
    axes[1].step(times, history["best"], **look)
    counts, reached = zip(*history["accuracy"], strict=True)
    shown = [100 * one for one in reached]
    axes[2].step(counts, shown, **look)
    moments = [seconds * count / evaluations[-1] for count in counts]
    axes[3].step(moments, shown, **look)
    axes[0].set(xlabel="evaluations", ylabel="best fitness so far")
    axes[1].set(xlabel="seconds of search, in proportion", ylabel="best fitness so far")
    axes[2].set(xlabel="evaluations", ylabel=REACHED)
    axes[3].set(xlabel="seconds of search, in proportion", ylabel=REACHED)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--sparsity", type=float, default=0.9)
    arguments.add_argument("--evaluations", type=int, help="by default those of `prune`")
    arguments.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    arguments.add_argument("--keys", type=int, nargs="+", default=[0])
    options = arguments.parse_args()
    if options.smoke:
        options.sparsity, options.evaluations = 0.5, 16
        options.variants = ["default", "random search", "hill climbing"]
    options.out = out_path(options, f"ablation_{options.arch}_{round(100 * options.sparsity)}")
    return options


if __name__ == "__main__":
    main()
