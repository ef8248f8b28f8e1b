"""What is known before a search comes back from arrays and JSON as it was."""

import json

import jax
import pytest
from helpers import INPUTS, LAYOUT, MODEL, SPARSITY, base, trees_equal

from jgaprune.driver.baselines import one_shot_masks
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.prepared import Prepared, pack, unpack
from jgaprune.driver.seeding import Seeding
from jgaprune.driver.train import Steps
from jgaprune.report import Baseline, Measure

TRAINED = jax.tree.map(lambda leaf: 2 * leaf, MODEL.params)


@pytest.mark.parametrize(("trained", "varied"), [(None, -INPUTS), (TRAINED, None)])
def test_it_comes_back_as_it_was(trained, varied):
    scores = {"lamp": base()}
    baselines = {"lamp": Baseline(Measure(0.5, None), Measure(0.25, 0.75))}
    masks = one_shot_masks(scores, LAYOUT, SPARSITY)
    start = Seeding(scores, masks, baselines, Steps(2, 3), ("a warning",), trained)
    inputs = Inputs(INPUTS[2:], 4, "given", ("another",), held_out=INPUTS[:2])
    prepared = Prepared(inputs, varied, start, 8, {"one_shot": 1.5})
    arrays, document = pack(prepared)
    again = unpack(arrays, json.loads(json.dumps(document)), LAYOUT, SPARSITY)
    assert again.start.baselines == baselines
    assert (again.start.steps, again.start.warnings) == (start.steps, start.warnings)
    assert (again.initial, again.seconds) == (prepared.initial, prepared.seconds)
    assert (again.inputs.num_for_repair, again.inputs.warnings) == (4, ("another",))
    assert again.inputs.origin == "given" and trees_equal(again.varied, varied)
    for name in ("scores", "masks", "trained"):
        assert trees_equal(getattr(again.start, name), getattr(start, name)), name
    assert trees_equal((again.inputs.all, again.inputs.held_out), (inputs.all, inputs.held_out))
