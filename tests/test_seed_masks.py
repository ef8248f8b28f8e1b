"""Masks of the caller's, or of another run, to start from."""

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import INPUTS, LAYOUT, MODEL, SPARSITY, count, trees_equal

import jgaprune as jp
from jgaprune.cli import main
from jgaprune.demo import WEIGHTS as DIGITS
from jgaprune.driver.baselines import given_scores
from jgaprune.masks import kept_for
from jgaprune.saliency import one_shot

CALL = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "space": "weights"}
CALL |= {"population": 8, "generations": 2, "gradient_swaps": False}


@pytest.fixture(scope="module")
def first():
    return jp.prune(MODEL, **CALL, key=5)


@pytest.mark.slow
@pytest.mark.parametrize("sparsity", [SPARSITY, 0.5, 0.9])
def test_masks_come_back_or_are_grown_or_thinned(first, sparsity):
    scores = given_scores(MODEL.params, LAYOUT, [first.masks])["given"]
    masks = one_shot(scores, LAYOUT, sparsity)
    assert count(masks) == kept_for(sparsity, LAYOUT.num_weights)
    if sparsity == SPARSITY:
        assert trees_equal(masks, first.masks)
    for name, mask in masks.items():
        few, many = (first.masks[name], mask) if sparsity < SPARSITY else (mask, first.masks[name])
        assert np.all(np.asarray(many) | ~np.asarray(few))


@pytest.mark.slow
def test_a_search_is_never_worse_than_what_it_is_given(first):
    again = jp.prune(MODEL, **CALL, seed_masks=[first.masks, first.masks])
    assert {"given", "given 2"} <= set(again.baselines)
    given = again.baselines["given"].repaired.fitness
    assert again.fitness["start"] <= given <= first.fitness["best"] * (1 + 1e-5)
    assert again.fitness["best"] <= again.fitness["start"]


def test_masks_that_do_not_fit_are_explained(first):
    name, *others = LAYOUT.names
    wrong = {
        "must have a mask of every prunable leaf": {one: first.masks[one] for one in others},
        "must be boolean, got float32": {
            one: np.asarray(mask, np.float32) for one, mask in first.masks.items()
        },
        f"{name} differ": {**first.masks, name: np.ones(3, bool)},
    }
    for words, masks in wrong.items():
        with pytest.raises(ValueError, match=words):
            jp.prune(MODEL, **CALL, seed_masks=masks)


@pytest.mark.slow
def test_the_masks_of_a_run_are_read_from_its_folder(first, tmp_path):
    (tmp_path / "masks.npz").write_bytes(b"no masks")
    asked = ["prune", "--weights", str(DIGITS), "--sparsity", "0.9", "--out"]
    for run in (tmp_path, tmp_path / "absent"):
        result = CliRunner().invoke(main, [*asked, str(tmp_path / "x"), "--seed-run", str(run)])
        assert result.exit_code == 2 and f"--seed-run {run}" in result.stderr
