"""The default call: every saliency a base, weights refitted in every evaluation and distilled."""

import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, SPARSITY, count, inputs_for, trees_equal

import jgaprune as jp
from jgaprune.driver import finish as driver_finish
from jgaprune.driver.plan import Choices
from jgaprune.driver.wiring import choose_repair
from jgaprune.masks import kept_for

MADE = inputs_for(MODEL, 32, seed=11)
CALL = {
    "sparsity": SPARSITY,
    "inputs": MADE,
    "supplement": False,
    "evaluations": 32,
    "train_steps": 10,
}
ONE_SHOT = {
    *("magnitude", "uniform_magnitude", "lamp", "erk", "lookahead", "synflow", "wanda", "obs"),
    "exact_obs",
}
LABELS = np.arange(len(INPUTS)) % 5


@pytest.fixture(scope="module")
def report():
    return jp.prune(MODEL, **CALL, evaluation_data=(np.asarray(INPUTS), LABELS))


def test_what_it_chose_is_in_the_settings(report):
    chosen = {name: report.settings[name] for name in ("space", "repair", "evolver", "seeds")}
    assert chosen == {"space": "bases", "repair": "distil", "evolver": "genetic", "seeds": 8}
    assert set(report.baselines) == {*ONE_SHOT, "gradual", "straight_through"}
    assert report.settings["train_steps"] == {"masks": 10, "weights": 10}
    assert report.settings["num_inputs"] == 28 and report.settings["num_held_out"] == 4


def test_the_winner_is_the_best_on_held_out_inputs_and_all_are_in_the_report(report):
    fitness = {name: one.fitness for name, one in report.candidates.items()}
    distilled = [name for name in fitness if name.endswith(", distilled")]
    assert {name.removesuffix(", distilled") for name in distilled} < set(fitness)
    assert any(name.removesuffix(", distilled") in ONE_SHOT for name in distilled)
    assert fitness[report.winner] == min(fitness.values())
    assert report.accuracy["pruned"] == report.candidates[report.winner].accuracy
    assert report.to_json()["candidates"][report.winner]["fitness"] == fitness[report.winner]


def test_the_report_says_which_weights_were_distilled(report):
    distilled = {name for name in report.candidates if name.endswith(", distilled")}
    told = report.to_json()["settings"]["distilled_from"]
    assert {f"{name}, distilled" for name in told} == distilled
    assert set(told.values()) <= {"refitted", "trained"}


@pytest.mark.parametrize("repair", ["distil", "reconstruct", "batch_norm_delta"])
def test_weights_trained_along_with_masks_reach_the_finish_where_weights_are_distilled(
    monkeypatch, repair
):
    told, steps = {}, []

    def listen(progress):
        if progress.phase == "training":
            steps.append(progress.detail)

    def finish(*args, **kwargs):
        told.update(kwargs)
        raise _ReachedError

    monkeypatch.setattr(driver_finish, "finish", finish)
    with pytest.raises(_ReachedError):
        short = {**CALL, "train_steps": 2, "evaluations": 16}
        jp.prune(MODEL, **short, repair=repair, on_record=listen)
    assert steps[-2:] == ["step 1 of 2", "step 2 of 2"]
    assert (told["trained"] is not None) == (repair == "distil")
    if repair == "distil":
        assert any((told["trained"][name] != MODEL.params[name]).any() for name in LAYOUT.names)


class _ReachedError(Exception):
    """The run has come to its last step."""


def test_removed_weights_are_zero_and_the_others_refitted(report):
    assert count(report.masks) == kept_for(SPARSITY, LAYOUT.num_weights)
    for name, mask in report.masks.items():
        weights, kept = np.asarray(report.params[name]), np.asarray(mask)
        assert not weights[~kept].any()
        assert not np.allclose(weights[kept], np.asarray(MODEL.params[name])[kept])


def test_it_is_never_worse_than_any_baseline_with_the_same_repair(report):
    seeds = [baseline.repaired.fitness for baseline in report.baselines.values()]
    assert report.fitness["best"] <= report.fitness["start"] <= min(seeds) * (1 + 1e-4)
    assert not any("no genome" in warning for warning in report.warnings)


def test_fitness_is_measured_on_variations_of_the_inputs(report):
    """So it differs from that on the inputs which the weights were fitted to."""
    dense = MODEL.apply(MODEL.params, MODEL.buffers, MADE)
    logits = MODEL.apply(report.params, report.buffers, MADE)
    on_inputs, _ = jp.objectives.compare_outputs(logits, dense)
    assert report.fitness["best"] != pytest.approx(float(on_inputs), rel=1e-3)
    assert float(on_inputs) < 2 * report.fitness["best"]


def test_same_key_same_run(report):
    again = jp.prune(MODEL, **CALL)
    assert trees_equal(again.masks, report.masks)
    assert again.history.best == report.history.best


@pytest.mark.slow
def test_it_races():
    raced = jp.prune(MODEL, **CALL, racing=True)
    assert raced.settings["racing"] == [{"look_inputs": 4, "survivors": 2, "cost": 1 / 7}]
    assert raced.fitness["best"] <= raced.fitness["start"]


@pytest.mark.parametrize(
    ("choices", "origin", "expected"),
    [
        (("bases", "output_distance", "genetic"), "synthesised", "distil"),
        (("bases", "output_distance", "genetic"), "inverted", "distil"),
        (("bases", "kl", "evosax:CMA_ES"), "given", "distil"),
        (("bases", "output_distance", "genetic"), "noise", "batch_norm_delta"),
        (("bases", "accuracy", "genetic"), "given", "batch_norm_delta"),
        (("bases", "kl", "paper3"), "given", "batch_norm_delta"),
        (("weights", "kl", "genetic"), "given", "batch_norm_delta"),
    ],
)
def test_what_auto_stands_for(choices, origin, expected):
    assert choose_repair("auto", Choices(*choices), origin) == expected
    assert choose_repair("none", Choices(*choices), origin) == "none"
