"""How far a result can be trusted: held-out inputs, and fitness against accuracy."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LABELS, MODEL, SPACES, SPARSITY, inputs_for
from jax.tree_util import Partial
from scipy.stats import spearmanr

import jgaprune as jp
from jgaprune.driver import trust
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.measure import Judge
from jgaprune.driver.wiring import make_repair
from jgaprune.report import Baseline, Fitness, HeldOut, Measure, RankCorrelation, Trust

CALL = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "space": "offsets"}
CALL |= {"population": 4, "evaluations": 12}
SPACE = SPACES["offsets"].space
GENOME = SPACE.sample(jax.random.key(3))
MASKS = SPACE.decode(GENOME)
GIVEN = Inputs(INPUTS, len(INPUTS), "given")


def held(unseen, seen=(0.2, 0.4)):
    return HeldOut("varied", 16, "lamp", Fitness(*seen), Fitness(*unseen))


@pytest.mark.parametrize(
    ("unseen", "seen", "warning"),
    [
        ((0.25, 0.41), (0.2, 0.4), None),
        ((0.33, 0.40), (0.2, 0.4), "More than half"),
        ((0.41, 0.40), (0.2, 0.4), "fooled itself"),
        ((0.40, 0.40), (0.2, 0.4), "fooled itself"),
        ((float("nan"), 0.40), (0.2, 0.4), "fooled itself"),
        ((-1.0, -0.9), (-1.4, -1.0), "More than half"),
        ((0.41, 0.40), (0.4, 0.4), None),
    ],
)
def test_a_gain_that_is_lost_on_other_inputs_is_told_with_both_numbers(unseen, seen, warning):
    sentences = held(unseen, seen).warnings()
    assert len(sentences) == (warning is not None)
    for sentence in sentences:
        assert warning in sentence
        assert all(f"{value:#.4g}" in sentence for value in unseen)


def test_a_rank_correlation_that_says_little_is_told():
    assert RankCorrelation(0.8, 29).warnings() == ()
    assert "0.10" in RankCorrelation(0.1, 29).warnings()[0]
    assert "not defined" in RankCorrelation(None, 29).warnings()[0]


def test_spearman_against_scipy_with_ties():
    first, second = np.random.default_rng(0).integers(0, 6, size=(2, 30)).astype(float)
    found = trust.spearman(first, second)
    assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-4)
    assert trust.spearman(first, np.ones(30)) is None


@pytest.mark.parametrize("name", ["none", "batch_norm_delta", "reconstruct"])
def test_held_out_fitness_is_the_runs_objective_after_the_runs_repair_on_other_inputs(name, key):
    used = make_repair(MODEL, GIVEN, name)
    unseen = trust.unseen_by(MODEL, "logit_mse", GIVEN, name, used, key, fresh=False)
    inputs = jp.inputs.vary(key, INPUTS)
    params, buffers = jp.masks.apply_masks(MODEL.params, MASKS), MODEL.buffers
    if used is not None:
        _, params, buffers = jax.jit(used.fit)(params, buffers)
    expected, _ = jp.objectives.compare_logits(
        MODEL.apply(params, buffers, inputs), MODEL.apply(MODEL.params, MODEL.buffers, inputs)
    )
    found = jax.jit(unseen.objective)(key, MASKS).fitness
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    assert (unseen.origin, unseen.num_inputs) == ("varied", len(INPUTS))


def test_noise_is_drawn_anew_and_labelled_or_own_objectives_are_left_alone(key):
    noise = Inputs(INPUTS, len(INPUTS), "noise")
    assert trust.unseen_by(MODEL, "kl", noise, "none", None, key, fresh=False).origin == "noise"
    for objective in ("accuracy", jp.objectives.kl(MODEL, inputs=INPUTS)):
        assert trust.unseen_by(MODEL, objective, GIVEN, "none", None, key, fresh=False) is None


def _upside_down(objective, key, masks):
    score = objective(key, masks)
    return score._replace(fitness=10.0 - score.fitness)


def test_an_objective_that_is_turned_round_on_held_out_inputs_is_noticed(key):
    objective = jp.objectives.logit_mse(MODEL, inputs=INPUTS)
    judge = Judge(MODEL, None, objective, objective, key, None)
    masks = {name: SPACE.decode(SPACE.sample(jax.random.key(i))) for i, name in enumerate("ab")}
    measures = {name: judge.measure(one) for name, one in masks.items()}
    best, worst = sorted(masks, key=lambda name: measures[name].fitness)
    baselines = {worst: Baseline(Measure(None, None), measures[worst])}
    genome = SPACE.sample(jax.random.key("ab".index(best)))
    for unseen, warns in ((objective, 0), (Partial(_upside_down, objective), 1)):
        look = trust.examine(
            judge, SPACE, trust.Unseen(unseen, "varied", 16), masks, baselines, None
        )
        found = look(genome, measures[best].fitness)
        assert found.held_out.baseline == worst and len(found.warnings()) == warns
        assert found.held_out.seen == (measures[best].fitness, measures[worst].fitness)


@pytest.fixture(scope="module")
def report():
    """A run whose fitness is its error on the evaluation data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "synthesized", lambda model, key, num: inputs_for(model, num, 77))
        data = (np.asarray(INPUTS), np.asarray(LABELS))
        call = {**CALL, "sparsity": 0.95, "objective": "agreement", "repair": "none"}
        return jp.prune(MODEL, **call, evaluation_data=data, trust=True)


@pytest.mark.slow
def test_the_report_holds_what_was_found(report):
    found = report.trust.held_out
    fitness = {name: one.repaired.fitness for name, one in report.baselines.items()}
    assert found.seen == (report.fitness["best"], min(fitness.values()))
    assert fitness[found.baseline] == found.seen.baseline
    assert (found.inputs, found.num_inputs) == ("synthesised", 128)
    other = inputs_for(MODEL, 128, 77)
    dense = MODEL.apply(MODEL.params, MODEL.buffers, other).argmax(-1)
    pruned = MODEL.apply(report.params, report.buffers, other).argmax(-1)
    assert found.unseen.evolved == pytest.approx(float(jnp.mean(dense != pruned)))
    assert set(report.trust.warnings()) <= set(report.warnings)
    document = json.loads(json.dumps(report.to_json()))["trust"]
    assert document["held_out"]["seen"]["evolved"] == found.seen.evolved
    assert "other inputs" in report.summary()


@pytest.mark.slow
def test_fitness_that_is_the_error_correlates_perfectly(report):
    found = report.trust.rank_correlation
    assert found == RankCorrelation(1.0, 24 + 1 + len(report.baselines))
    assert "rank correlation" in report.summary()


def test_a_report_without_a_look_says_nothing_of_trust(report):
    silent = replace(report, trust=Trust())
    assert "\nTrust" not in silent.summary() and "\nTrust" in report.summary()
    assert silent.to_json()["trust"] == {"held_out": None, "rank_correlation": None}
