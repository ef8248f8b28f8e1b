"""What the quality benchmarks share: the arguments that name a network, and a tiny one."""

import argparse

import documents
import jax
import numpy as np

import jgaprune as jp

NUM_GIVEN = 256


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that say what to run on."""
    made = documents.parser(description)
    made.add_argument("weights", nargs="?")
    made.add_argument("--arch", default="cifar_resnet20")
    made.add_argument("--inputs", help="unlabelled images, .npz")
    made.add_argument("--eval-data", help="labelled test images, .npz")
    made.add_argument("--key", type=int, default=0, help="of the inputs")
    return made


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
