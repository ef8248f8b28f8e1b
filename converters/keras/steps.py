"""The steps of a network that ends in logits.

A softmax or sigmoid at the very end is left out: objectives compare logits, and probabilities
have lost what is below the smallest float.
"""

import json
from dataclasses import replace

from jgaprune.converters.keras.graph import Graph
from jgaprune.converters.keras.network import Step
from jgaprune.converters.keras.support import activation_name

_WITHOUT_EFFECT = ("Activation", "Dropout", "Identity")


def steps_to_logits(graph: Graph) -> tuple[tuple[Step, ...], bool]:
    """All calls of a graph in order, and whether they ended in a sigmoid."""
    steps = {
        call.output: Step(
            call.output,
            call.layer,
            graph.layers[call.layer].class_name,
            json.dumps(graph.layers[call.layer].config, sort_keys=True),
            activation_name(graph.layers[call.layer].config),
            call.inputs,
        )
        for call in graph.calls
    }
    value = graph.output
    while value in steps:
        step = steps[value]
        if _ends_in_probabilities(step):
            kind = "Identity" if step.class_name == "Softmax" else step.class_name
            steps[value] = replace(step, class_name=kind, activation="linear")
            return tuple(steps.values()), step.activation == "sigmoid"
        if step.class_name not in _WITHOUT_EFFECT or step.activation != "linear":
            break
        (value,) = step.inputs
    return tuple(steps.values()), False


def _ends_in_probabilities(step: Step) -> bool:
    if step.class_name == "Softmax":
        return json.loads(step.config).get("axis", -1) in (-1, 1)
    return step.activation in ("softmax", "sigmoid")
