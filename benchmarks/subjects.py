"""What the quality benchmarks run on: a real network with its images, or a tiny one on noise."""

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import jgaprune as jp
from jgaprune.driver.inputs import make_inputs
from jgaprune.driver.wiring import make_repair, split_key
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.types import Repair

RESULTS = Path(__file__).parent / "results"
NUM_GIVEN = 256


class Subject(NamedTuple):
    """A model, `(inputs, labels)` for measuring accuracy, and the repairs of a search.

    `repairs` holds what `prune` makes under the same key of what the user gives: nothing, or
    unlabelled images. Their inputs are what the search sees; they are made once for all cells.
    """

    model: jp.Model
    data: tuple[np.ndarray, np.ndarray]
    repairs: dict[str, Repair]


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that say what to run on."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("weights", nargs="?")
    made.add_argument("--arch", default="cifar_resnet20")
    made.add_argument("--inputs", help="unlabelled images, .npz")
    made.add_argument("--eval-data", help="labelled test images, .npz")
    made.add_argument("--key", type=int, default=0, help="of the inputs")
    made.add_argument("--out", type=Path)
    made.add_argument("--smoke", action="store_true")
    return made


def subject(arguments: argparse.Namespace) -> Subject:
    """What the arguments ask for.

    Raises:
      SystemExit: neither a smoke test nor all files are asked for.
    """
    if arguments.smoke:
        model, data, inputs = tiny()
        return Subject(model, data, {"noise": jp.repair.batch_norm_delta(model, inputs)})
    if not (arguments.weights and arguments.inputs and arguments.eval_data):
        raise SystemExit("WEIGHTS, --inputs and --eval-data are needed (or --smoke)")
    model = jp.converters.load(arguments.arch, arguments.weights)
    unlabelled = read_inputs(arguments.inputs, model.spec)
    chosen = np.random.default_rng(arguments.key).permutation(len(unlabelled))[:NUM_GIVEN]
    key = split_key(arguments.key).inputs
    sources = {"none": None, "unlabelled": unlabelled[chosen]}
    repairs = {name: _repair(model, given, key) for name, given in sources.items()}
    return Subject(model, read_evaluation_data(arguments.eval_data, model.spec), repairs)


def _repair(model: jp.Model, given: np.ndarray | None, key: jax.Array) -> Repair:
    inputs = make_inputs(model, given, "batch_norm_delta", key, supplement=True)
    return make_repair(model, inputs, "batch_norm_delta")


def tiny() -> tuple[jp.Model, tuple[np.ndarray, np.ndarray], jax.Array]:
    """Two dense layers, labelled data, and the same inputs unlabelled."""
    first, second, draw = jax.random.split(jax.random.key(0), 3)
    params = {"w1": jax.random.normal(first, (6, 16)), "w2": jax.random.normal(second, (16, 4))}
    model = jp.Model.from_fn(_two_layers, params, (6,))
    inputs = jax.random.normal(draw, (32, 6))
    labels = np.asarray(_two_layers(params, inputs).argmax(-1))
    return model, (np.asarray(inputs), labels), inputs


def _two_layers(params, inputs):
    return jax.nn.relu(inputs @ params["w1"]) @ params["w2"]
