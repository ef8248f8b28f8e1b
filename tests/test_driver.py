import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, SPARSITY, count, inputs_for, trees_equal
from helpers import SPACES as SPACE_CASES

import jgaprune as jp
from jgaprune import objectives
from jgaprune.driver import EVOLVERS, OBJECTIVES, SPACES, wiring
from jgaprune.driver import inputs as driver_inputs
from jgaprune.driver.choices import choose_space
from jgaprune.masks import Layout, apply_masks, kept_for
from jgaprune.model import Model
from jgaprune.types import Score

SMALL = {"evaluations": 12, "population": 4}
LABELS = np.arange(len(INPUTS)) % 5


def prune(**changed):
    """A quick search: no weights are refitted unless a test says so."""
    given = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "space": "offsets"}
    return jp.prune(MODEL, **{**given, **SMALL, **changed})


def said(report, pattern):
    """Whether a warning of the report says so."""
    return any(re.search(pattern, warning) for warning in report.warnings)


def _dense_net(params, inputs):
    return inputs @ params["w"]


def _rounding_net(params, inputs):
    return jax.numpy.round(inputs) @ params["w"]


@pytest.fixture(scope="module")
def usual():
    """What the quick search gives; accuracy is measured on its own inputs."""
    return prune(evaluation_data=(np.asarray(INPUTS), LABELS))


def test_other_inputs_are_looked_at_always_and_masks_around_the_result_only_if_asked(usual):
    assert usual.trust.held_out.inputs == "varied" and usual.trust.rank_correlation is None


def test_the_report_says_what_the_arrays_say(usual):
    assert count(usual.masks) == kept_for(SPARSITY, LAYOUT.num_weights)
    for name, mask in usual.masks.items():
        weights = np.asarray(usual.params[name])
        assert np.array_equal(weights, np.where(mask, MODEL.params[name], 0))
    logits = MODEL.apply(usual.params, usual.buffers, INPUTS)
    assert usual.accuracy["pruned"] == pytest.approx(np.mean(logits.argmax(-1) == LABELS))
    dense = MODEL.apply(MODEL.params, MODEL.buffers, INPUTS)
    assert usual.accuracy["dense"] == pytest.approx(np.mean(dense.argmax(-1) == LABELS))
    fitness, _ = jp.objectives.compare_outputs(logits, dense)
    assert usual.fitness["best"] == pytest.approx(float(fitness), rel=1e-4)
    assert usual.evaluations == 12 and usual.generations == 2


def test_never_worse_than_the_best_one_shot_mask_with_the_same_repair(usual):
    seeds = [baseline.repaired.fitness for baseline in usual.baselines.values()]
    assert usual.fitness["start"] <= min(seeds) * (1 + 1e-4)
    assert usual.fitness["best"] <= usual.fitness["start"]


def test_same_key_same_masks_other_key_other_search(usual):
    again = prune()
    assert trees_equal(again.masks, usual.masks)
    assert again.history.mean_fitness == usual.history.mean_fitness
    assert prune(key=1).history.mean_fitness != usual.history.mean_fitness


def test_accuracy_data_never_changes_the_search(usual):
    assert prune().history.best == usual.history.best


def quick_inputs(model, key, num):
    return inputs_for(model, num)


@pytest.mark.slow
def test_without_inputs_they_are_made_from_the_model(monkeypatch):
    monkeypatch.setattr(
        driver_inputs, "synthesized", lambda model, key, num: inputs_for(model, num)
    )
    report = jp.prune(MODEL, sparsity=SPARSITY, space="offsets", num_inputs=24, **SMALL)
    assert report.settings["inputs"] == "synthesised" and not said(report, "noise")
    assert report.settings["num_inputs"] == 24


@pytest.mark.parametrize(
    ("function", "num_outputs", "origin"),
    [(_dense_net, 4, "inverted"), (_dense_net, 1, "noise"), (_rounding_net, 4, "noise")],
    ids=["classifier", "one output", "no gradient"],
)
def test_without_norms_inputs_are_inverted_or_drawn_with_a_warning(
    monkeypatch, function, num_outputs, origin
):
    monkeypatch.setattr(
        driver_inputs, "synthesized", lambda model, key, num: inputs_for(model, num)
    )
    weights = {"w": jax.random.normal(jax.random.key(0), (6, num_outputs))}
    plain = Model.from_fn(function, weights, (6,))
    made = driver_inputs.make_inputs(plain, None, "auto", jax.random.key(1), supplement=True)
    assert made.origin == origin and made.all.shape == (512, 6)
    assert any("noise" in warning for warning in made.warnings) == (origin == "noise")
    given = driver_inputs.make_inputs(plain, made.all, "auto", jax.random.key(1), supplement=True)
    assert given.origin == "given"


@pytest.mark.slow
def test_synthesised_inputs_join_given_ones_unless_labels_or_the_caller_forbid(monkeypatch, usual):
    monkeypatch.setattr(
        driver_inputs, "synthesized", lambda model, key, num: inputs_for(model, num)
    )
    report = prune(supplement=True)
    assert report.settings["inputs"] == "given and synthesised"
    assert report.settings["num_inputs"] == 512
    assert usual.settings["num_inputs"] == len(INPUTS)
    labelled = prune(supplement=True, objective="accuracy", labels=LABELS)
    assert labelled.settings["inputs"] == "given"


def test_the_repair_works_on_synthesised_inputs_alone(monkeypatch, usual):
    made = inputs_for(MODEL, 6, seed=9)
    monkeypatch.setattr(driver_inputs, "synthesized", lambda *_: made)
    inputs = driver_inputs.make_inputs(MODEL, INPUTS, "auto", jax.random.key(0), supplement=True)
    np.testing.assert_array_equal(inputs.all, np.concatenate([made, INPUTS]))
    repair = wiring.make_repair(MODEL, inputs, "batch_norm_delta")
    assert repair.inputs is inputs.all, "or the objective would look at them once more"
    params = apply_masks(MODEL.params, usual.masks)
    _, _, buffers = repair.fit(params, MODEL.buffers)
    _, _, expected = jp.repair.batch_norm_delta(MODEL, made).fit(params, MODEL.buffers)
    assert trees_equal(buffers, expected)


@pytest.mark.parametrize("origin", ["given", "noise"])
def test_statistics_are_taken_from_inputs_and_variations_by_turns_but_from_noise_as_it_is(
    usual, origin
):
    inputs = driver_inputs.Inputs(INPUTS, 6, origin)
    seen = np.array(INPUTS)
    if origin == "given":
        seen[1::2] *= -1
    repair = wiring.make_repair(MODEL, inputs, "batch_norm_delta", -INPUTS)
    np.testing.assert_array_equal(repair.inputs, seen)
    params = apply_masks(MODEL.params, usual.masks)
    _, _, buffers = repair.fit(params, MODEL.buffers)
    _, _, expected = jp.repair.batch_norm_delta(MODEL, seen[:6]).fit(params, MODEL.buffers)
    assert trees_equal(buffers, expected)


ROWS = {
    "blocks": "offsets_block",
    "channels": "offsets_output_channel",
    "input_channels": "offsets_input_channel",
}
"""Where the tables of the tests say more than the name in the driver."""


SLOW = ("bases", "blocks", "channels", "input_channels", "scores")
"""Spaces that differ from others in nothing that the driver sees, or that other tests search."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "space",
    [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in SPACES],
)
@pytest.mark.parametrize("evolver", ["genetic", pytest.param("paper5", marks=pytest.mark.slow)])
def test_every_space_runs_with_its_evolvers(space, evolver):
    # That of the default call trains and refits: with its shapes, its programs are those of there.
    same = {"inputs": inputs_for(MODEL, 32, seed=11), "train_steps": 10}
    quick = {"bases": same, "weights": {"gradient_swaps": False}}  # test_swaps.py asks for them
    report = prune(space=space, evolver=evolver, **quick.get(space, {}))
    assert count(report.masks) == SPACE_CASES[ROWS.get(space, space)].budget
    assert report.history.best == sorted(report.history.best, reverse=True)


@pytest.mark.parametrize("name", SPACES)
def test_the_name_of_a_space_stands_for_it(name):
    space, expected = choose_space(name, MODEL, SPARSITY), SPACE_CASES[ROWS.get(name, name)].space
    genome = jax.eval_shape(space.sample, jax.random.key(0))
    assert genome == jax.eval_shape(expected.sample, jax.random.key(0))


COMPARISONS = {
    "output_distance": objectives.compare_outputs,
    "total_variation": objectives.compare_probabilities,
    "logit_cosine": objectives.compare_directions,
    "logit_mse": objectives.compare_logits,
    "kl": objectives.compare_distributions,
    "reverse_kl": objectives.compare_distributions_reversed,
    "agreement": objectives.compare_decisions,
    "accuracy": objectives.compare_labels,
    "cross_entropy": objectives.compare_likelihood,
}


USUAL_OBJECTIVES = ("accuracy", "feature_distance", "kl", "output_distance")


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        one if one in USUAL_OBJECTIVES else pytest.param(one, marks=pytest.mark.slow)
        for one in OBJECTIVES
    ],
)
def test_every_objective_is_what_its_name_says(objective):
    labels = LABELS if objective in ("accuracy", "cross_entropy") else None
    report = prune(objective=objective, labels=labels, evolver="paper1")
    assert report.uses_labels == (labels is not None)
    dense = objectives.features_of(MODEL, MODEL.params, MODEL.buffers, INPUTS)
    pruned = objectives.features_of(MODEL, report.params, report.buffers, INPUTS)
    if objective == "feature_distance":
        fitness, _ = objectives.compare_features(pruned, dense)
    else:
        reference = dense.logits if labels is None else jnp.asarray(labels)
        fitness, _ = COMPARISONS[objective](pruned.logits, reference)
    assert report.fitness["best"] == pytest.approx(float(fitness), rel=1e-4)


@pytest.mark.slow
def test_labelled_inputs_are_refitted_to_and_none_is_held_out():
    report = prune(objective="accuracy", labels=LABELS, repair="distil", train_steps=2)
    assert report.settings["num_held_out"] == 0 and report.settings["repair"] == "distil"
    assert said(report, "nothing was distilled") and report.winner == "evolved"


def test_every_paper_strategy_and_evosax_have_names():
    assert {f"paper{strategy}" for strategy in range(1, 6)} <= set(EVOLVERS)
    assert prune(evolver="evosax:CMA_ES").evaluations == 12


@pytest.mark.slow
def test_own_space_objective_and_evolver():
    space = jp.spaces.weights(
        jp.saliency.magnitude(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY
    )
    objective = jp.objectives.kl(MODEL, inputs=INPUTS)
    evolver = jp.evolvers.genetic(space, population=4)
    report = prune(space=space, objective=objective, evolver=evolver, repair=False)
    assert report.settings["space"] == "custom"
    assert all(baseline.raw.fitness is None for baseline in report.baselines.values())
    assert trees_equal(report.buffers, MODEL.buffers)


@pytest.mark.parametrize("limit", [{"generations": 3}, {"evaluations": 17}, {"seconds": 1e-6}])
def test_budgets_hold(limit):
    report = jp.prune(
        MODEL, sparsity=SPARSITY, inputs=INPUTS, space="offsets", population=4, **limit
    )
    expected = {"generations": 3, "evaluations": 3, "seconds": 0}[next(iter(limit))]
    assert report.generations == expected
    assert report.evaluations == 4 + 4 * expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity": 70}, r"Did you mean 0\.7"),
        ({"sparsity": 0.0}, "fraction"),
        ({"sparsity": 0.999}, "stay alive"),
        ({"space": "offset"}, "space must be one of bases, levels, offsets"),
        ({"objective": "loss"}, "objective must be one of"),
        ({"objective": "kl+2*loss"}, "got 'loss'"),
        ({"objective": "kl+accuracy"}, "cannot be part of a sum"),
        ({"objective": "kl+-1*agreement"}, "above 0, got -1"),
        ({"objective": "kl+much*agreement"}, "must be a number"),
        ({"evolver": "evosax:CMAES_X"}, "CMA_ES"),
        ({"evolver": "paper6"}, "evolver must be one of"),
        ({"preset": "slow"}, "preset must be one of fast, default, thorough"),
        ({"train_steps": -1}, "train_steps must be"),
        ({"train_steps": 2.5}, "train_steps must be"),
        ({"population": 0}, "population must be at least 2"),
        ({"evaluations": 0}, "evaluations must be above 0"),
        ({"generations": -1}, "generations must be above 0"),
        ({"chunk": 0}, "chunk must be"),
        ({"inputs": np.zeros((3, 8, 8), np.float32)}, r"shape \[N, 8, 8, 2\]"),
        ({"inputs": np.zeros((3, 8, 8, 2), np.uint8)}, "preprocessed floats"),
        ({"inputs": "images.npz"}, "must be an array, got a path"),
        ({"inputs": np.full((3, 8, 8, 2), np.nan, np.float32)}, "NaN"),
        ({"objective": "accuracy"}, "needs inputs and labels"),
        ({"labels": LABELS}, "does not use them"),
        ({"objective": "accuracy", "labels": LABELS + 1}, r"range over 1\.\.5.*outputs 0\.\.4"),
        ({"objective": "accuracy", "labels": LABELS[:3]}, "one per input"),
        ({"space": "weights", "evolver": "evosax:CMA_ES"}, "real-valued"),
        ({"evaluations": 3}, "do not pay for generation 0 of 4"),
        ({"evaluation_data": (INPUTS, LABELS[:, None])}, "labels have shape"),
        ({"evaluation_data": (np.zeros((3, 8, 8, 2), np.uint8), LABELS[:3])}, "preprocessed"),
        ({"evaluation_data": INPUTS}, "pair"),
    ],
)
def test_bad_calls_are_explained(change, message):
    with pytest.raises(ValueError, match=message):
        prune(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": jp.spaces.scores(MODEL, 0.9)}, "same sparsity"),
        ({"space": jp.spaces.offsets({"w": jnp.ones(9)}, Layout(("w",), ((9,),)), 0.5)}, "layout"),
        ({"evolver": "evosax:Open_ES", "population": 3}, "even"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_computed(change, message):
    def fail(progress):
        raise AssertionError("the work began")

    with pytest.raises(ValueError, match=message):
        prune(**change, on_record=fail)


def test_an_evolver_of_ones_own_needs_a_population():
    evolver = jp.evolvers.genetic(jp.spaces.scores(MODEL, SPARSITY), population=4)
    with pytest.raises(ValueError, match="needs population"):
        prune(evolver=evolver, population=None)


@pytest.mark.slow
def test_the_paper_keeps_its_schedule_and_the_budget_under_it():
    report = prune(
        evolver="paper4",
        space="scores",
        objective="logit_cosine",
        population=None,
        evaluations=120,
    )
    assert report.history.evaluations[0] == report.settings["initial_population"] == 50
    assert report.settings["population"] is None
    assert 50 < report.evaluations <= 120


def test_a_budget_too_small_for_all_seeds_takes_the_best():
    report = prune(evaluations=2, population=2)
    best = min(baseline.repaired.fitness for baseline in report.baselines.values())
    assert report.fitness["best"] <= best * (1 + 1e-4)


@pytest.mark.slow
def test_seeds_that_a_space_cannot_express_are_named(usual):
    assert said(prune(space="scores"), "no genome for the masks of .*erk")
    assert not said(usual, "no genome")


@pytest.mark.parametrize(
    "key",
    [
        np.int64(3),
        jax.random.PRNGKey(3),
        pytest.param(jax.random.key(3, impl="rbg"), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_every_kind_of_key_is_taken(key):
    assert prune(key=key).evaluations == 12


def test_plain_functions_are_parts_too_and_nothing_is_said_of_their_labels():
    def most_in_the_first_layer(key, masks):
        kept = jnp.sum(masks["conv1.kernel"])
        return Score(-kept.astype(jnp.float32), kept, kept)

    report = prune(objective=most_in_the_first_layer)
    assert report.fitness["best"] < report.fitness["start"]
    assert report.uses_labels is None and "not known" in report.to_json()["note"]


@pytest.mark.slow
def test_a_repair_of_ones_own_does_not_replace_the_inputs():
    repair = jp.repair.batch_norm_delta(MODEL, INPUTS[:4])
    with_inputs, without = prune(repair=repair), prune(repair=repair, inputs=None)
    assert with_inputs.settings["num_inputs"] == len(INPUTS)
    assert without.settings["num_inputs"] == 4
    assert with_inputs.fitness["start"] != without.fitness["start"]


def test_a_file_is_no_model():
    with pytest.raises(ValueError, match="got str; jgaprune.converters.load"):
        jp.prune("weights.pth", sparsity=0.5)


def test_several_faults_come_in_one_error():
    with pytest.raises(ValueError, match=r"(?s)space must.*fraction.*population must"):
        prune(space="x", sparsity=2.0, population=1)


def test_stored_images_as_floats_are_explained():
    usual = jp.Preprocessing(mean=(0.5,), std=(0.25,))
    model = MODEL._replace(spec=replace(MODEL.spec, preprocessing=usual))
    stored = np.rint(255 * np.random.default_rng(0).random(INPUTS.shape)).astype(np.float32)
    for given in ({"inputs": stored}, {"evaluation_data": (stored, LABELS)}):
        with pytest.raises(ValueError, match=r"up to 25.*astype\('uint8'\), model.spec"):
            jp.prune(model, sparsity=SPARSITY, **given)


def test_an_interrupt_returns_whole_generations():
    calls = []

    def interrupt(progress):
        calls.append(progress)
        if progress.phase == "search" and progress.generation >= 1:
            raise KeyboardInterrupt

    report = prune(on_record=interrupt, evaluations=400)
    assert report.interrupted and report.evaluations < 400
    assert report.evaluations == 4 * (report.generations + 1)
    phases = list(dict.fromkeys(call.phase for call in calls))
    assert phases[:4] == ["inputs", "baselines", "compile", "search"]
    measured = {call.detail for call in calls if call.phase == "baselines"}
    assert measured >= set(report.baselines)


def test_an_interrupt_before_there_is_anything_is_passed_on():
    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(on_record=interrupt)


@pytest.mark.slow
def test_a_search_that_was_of_no_use_says_so():
    idle = prune(evaluations=4)
    assert idle.fitness["best"] == idle.fitness["start"]
    assert said(idle, "found nothing better, with the same repair, than masks known before it: ")
    unseeded = prune(seeds=False, evaluations=400, population=8)
    best = min(baseline.repaired.fitness for baseline in unseeded.baselines.values())
    assert unseeded.fitness["best"] < best
    assert not said(unseeded, "nothing better")


@pytest.mark.slow
def test_failed_evaluations_are_reported():
    params = {"w": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
    model = Model.from_fn(_fails_without_its_smallest, params, (3,))
    report = jp.prune(model, sparsity=0.34, space="weights", gradient_swaps=False, **SMALL)
    assert said(report, "evaluations gave NaN")
    assert np.isfinite(report.fitness["best"]) and bool(report.masks["w"][0, 0])


def _fails_without_its_smallest(params, inputs):
    return jnp.where(params["w"][0, 0] == 0, jnp.nan, inputs @ params["w"])


@pytest.mark.slow
def test_failures_of_the_first_generation_count_too():
    model = Model.from_fn(_always_fails, {"w": jnp.array([[1.0, 2.0], [3.0, 4.0]])}, (2,))
    report = jp.prune(model, sparsity=0.5, space="offsets", population=4, evaluations=4)
    assert said(report, "4 evaluations gave NaN") and said(report, "arbitrary")


def _always_fails(params, inputs):
    return inputs @ params["w"] * jnp.nan


@pytest.mark.parametrize("strategy", ["sequential", jp.Strategy("vmap", 2)], ids=str)
def test_a_strategy_and_another_chunk_contradict_each_other(strategy):
    with pytest.raises(ValueError, match="leave chunk out"):
        jp.prune(MODEL, sparsity=0.5, strategy=strategy, chunk=3)
