"""The choice at the end: by inputs held out, never a worse candidate, nothing lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, RECONSTRUCT, SPARSITY, base, inputs_for, trees_equal

import jgaprune as jp
from jgaprune import saliency
from jgaprune.driver import finish as driver_finish
from jgaprune.driver import train
from jgaprune.driver.contenders import best_of, contenders
from jgaprune.driver.finish import finish
from jgaprune.driver.inputs import Inputs, hold_out
from jgaprune.driver.measure import Judge, repaired
from jgaprune.report import Baseline, Measure

KEY = jax.random.key(5)
GOOD = saliency.one_shot(base(), LAYOUT, SPARSITY)
SMALLEST = {name: 1.0 / (1e-6 + jnp.abs(MODEL.params[name])) for name in LAYOUT.names}
BAD = saliency.one_shot(SMALLEST, LAYOUT, SPARSITY)
DATA = (
    np.asarray(INPUTS),
    np.asarray(jnp.argmax(MODEL.apply(MODEL.params, MODEL.buffers, INPUTS), -1)),
)
JUDGE = Judge(MODEL, RECONSTRUCT, lambda key, masks: None, None, KEY, DATA)
HELD = Inputs(INPUTS, len(INPUTS), "given", held_out=inputs_for(MODEL, 8, seed=21))


def test_the_better_on_held_out_inputs_wins_whatever_its_place():
    judge = JUDGE._replace(repair=None)
    for order in (("good", "bad"), ("bad", "good")):
        found = {name: {"good": GOOD, "bad": BAD}[name] for name in order}
        result = finish(judge, "output_distance", found, HELD, steps=0, key=KEY)
        assert result.winner == "good" and trees_equal(result.masks, GOOD)
    assert trees_equal((result.params, result.buffers), repaired(MODEL, None, GOOD))


@pytest.fixture
def shown(monkeypatch):
    """What the choice looks at: the inputs held out, and as many variations as were said."""
    looks = []

    def look(model, held_out, key):
        looks.append(varied(model, held_out, key))
        return looks[-1]

    varied = driver_finish._shown
    monkeypatch.setattr(driver_finish, "_shown", look)
    return looks


def test_what_it_measures_is_the_objective_on_the_held_out_inputs_and_variations(shown):
    result = finish(JUDGE, "output_distance", {"good": GOOD}, HELD, steps=0, key=KEY)
    (looked_at,) = shown
    rows = np.reshape(looked_at, (8, *HELD.held_out.shape))
    np.testing.assert_array_equal(rows[0], HELD.held_out)
    assert len(np.unique(rows.reshape(8, -1), axis=0)) == 8
    logits = MODEL.apply(result.params, result.buffers, looked_at)
    dense = MODEL.apply(MODEL.params, MODEL.buffers, looked_at)
    expected, _ = jp.objectives.compare_outputs(logits, dense)
    assert result.measures["good"].fitness == pytest.approx(float(expected), rel=1e-5)
    again = JUDGE.measure_weights(result.params, result.buffers)
    assert result.measures["good"].accuracy == again.accuracy > 0


def test_without_held_out_inputs_the_first_wins():
    inputs = Inputs(INPUTS, len(INPUTS), "given")
    result = finish(JUDGE, "output_distance", {"bad": BAD, "good": GOOD}, inputs, steps=0, key=KEY)
    assert result.winner == "bad" and result.measures["good"].fitness is None


def test_distilled_weights_are_kept_only_where_they_are_better(monkeypatch):
    result = finish(JUDGE, "output_distance", {"good": GOOD}, HELD, steps=3, key=KEY)
    kept, spoiled = result.measures["good"].fitness, result.measures["good, distilled"].fitness
    assert result.winner == ("good, distilled" if spoiled < kept else "good")
    monkeypatch.setattr(
        train, "distil", lambda loss, params, *args, **kwargs: jax.tree.map(jnp.zeros_like, params)
    )
    spoiled = finish(JUDGE, "output_distance", {"good": GOOD}, HELD, steps=3, key=KEY)
    assert spoiled.winner == "good" and any(leaf.any() for leaf in spoiled.params.values())


def test_distilled_statistics_are_those_of_what_the_training_saw(monkeypatch):
    monkeypatch.setattr(train, "variation_of", lambda spec: _negated)
    start, _ = repaired(MODEL, RECONSTRUCT, GOOD)
    params, buffers = train.distilled(MODEL, start, GOOD, HELD._replace(num_for_repair=2), 2, KEY)
    delta = jp.repair.batch_norm_delta(MODEL, -INPUTS)
    _, _, expected = delta.fit(params, MODEL.buffers)
    for name, leaf in expected.items():
        np.testing.assert_allclose(buffers[name], leaf, rtol=1e-5, atol=1e-6)


def _negated(key, inputs):
    return -inputs


def test_others_are_distilled_too_and_the_best_of_all_is_kept():
    found = {"good": GOOD, "bad": BAD}
    alone = finish(JUDGE, "output_distance", found, HELD, steps=3, key=KEY)
    result = finish(JUDGE, "output_distance", found, HELD, steps=3, key=KEY, also=("good", "bad"))
    assert len(alone.measures) == 3 and set(alone.measures) < set(result.measures)
    assert set(result.measures) == {"good", "bad", "good, distilled", "bad, distilled"}
    fitness = {name: one.fitness for name, one in result.measures.items()}
    assert result.winner == min(fitness, key=fitness.get)
    assert trees_equal(result.masks, BAD if result.winner.startswith("bad") else GOOD)


def test_distilling_starts_from_weights_trained_with_masks_where_they_are_fitter():
    def result(trained, steps=3):
        given = {"steps": steps, "key": KEY, "trained": trained}
        return finish(JUDGE, "output_distance", {"good": GOOD}, HELD, **given)

    usual = result(None)
    overfitted = HELD._replace(all=HELD.held_out)
    fitter, _ = train.distilled(MODEL, usual.params, GOOD, overfitted, 100, KEY)
    worse = jax.tree.map(jnp.zeros_like, MODEL.params)
    better = result(fitter)
    assert better.measures["good"] == usual.measures["good"]
    assert better.measures["good, distilled"].fitness < usual.measures["good, distilled"].fitness
    assert better.distilled_from == {"good": "trained"}
    assert result(worse).measures == usual.measures
    assert result(worse).distilled_from == usual.distilled_from == {"good": "refitted"}
    undistilled = result(fitter, steps=0)
    assert undistilled.measures == {"good": usual.measures["good"]}
    assert undistilled.distilled_from == {}


def test_the_best_as_refitted_and_the_best_with_trained_weights_are_both_distilled():
    found = {"good": GOOD, "bad": BAD}
    overfitted = HELD._replace(all=HELD.held_out)
    trained, _ = train.distilled(MODEL, MODEL.params, BAD, overfitted, 1200, KEY)
    usual = finish(JUDGE, "output_distance", found, HELD, steps=3, key=KEY)
    result = finish(JUDGE, "output_distance", found, HELD, steps=3, key=KEY, trained=trained)
    assert set(usual.measures) == {"good", "bad", "good, distilled"}
    assert set(result.measures) == {"good", "bad", "good, distilled", "bad, distilled"}
    assert set(result.distilled_from) == {"good", "bad"}
    assert result.distilled_from["bad"] == "trained"


def test_interrupted_training_leaves_the_repaired_weights(monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "distil", interrupt)
    result = finish(JUDGE, "output_distance", {"good": GOOD}, HELD, steps=3, key=KEY)
    assert result.interrupted
    assert trees_equal((result.params, result.buffers), repaired(MODEL, RECONSTRUCT, GOOD))


def test_what_was_distilled_before_an_interrupt_is_kept_and_not_denied():
    steps = []

    def stop_in_the_second(progress):
        steps.append(progress)
        if len(steps) == 6:
            raise KeyboardInterrupt

    found = {"good": GOOD, "bad": BAD}
    watched = {"also": ("good", "bad"), "tell": stop_in_the_second}
    result = finish(JUDGE, "output_distance", found, HELD, steps=4, key=KEY, **watched)
    assert result.interrupted and len(result.measures) == 3
    is_distilled = result.winner.endswith(", distilled")
    assert ("not distilled" in result.warnings[0]) != is_distilled


def test_who_watches_may_end_the_training():
    told = []

    def stop_at_the_second_step(progress):
        told.append(progress.detail)
        if len(told) == 2:
            raise KeyboardInterrupt

    result = finish(
        JUDGE,
        "output_distance",
        {"good": GOOD},
        HELD,
        steps=9,
        key=KEY,
        tell=stop_at_the_second_step,
    )
    assert told == [f"distilling good, step {step} of 9" for step in (1, 2)]
    assert result.interrupted and result.winner == "good"


def test_nothing_is_distilled_where_nothing_can_judge_it():
    inputs = Inputs(INPUTS, len(INPUTS), "given")
    result = finish(JUDGE, "output_distance", {"good": GOOD}, inputs, steps=3, key=KEY)
    assert list(result.measures) == ["good"] and "held out" in result.warnings[0]


@pytest.mark.parametrize(("num", "first"), [(64, 64), (64, 40), (16, 8), (7, 7)])
def test_an_eighth_is_held_out_of_both_parts_and_seen_by_none(num, first):
    inputs = jnp.arange(num, dtype=jnp.float32)[:, None]
    divided = hold_out(Inputs(inputs, first, "given"), KEY)
    seen, held = divided.all[:, 0].tolist(), np.ravel(divided.held_out).tolist()
    assert sorted(seen + held) == list(range(num))
    assert len(held) == first // 8 + (num - first) // 8
    assert divided.for_repair[:, 0].tolist() == [one for one in seen if one < first]


def test_the_best_seed_is_that_of_the_best_fitness():
    def baseline(fitness):
        return Baseline(Measure(0.0, None), Measure(fitness, None))

    baselines = {"a": baseline(0.3), "b": baseline(0.1), "c": baseline(float("nan"))}
    assert best_of(baselines) == "b"
    assert contenders(baselines) == ("b",)
    baselines["straight_through"] = baseline(0.05)
    assert contenders(baselines) == ("straight_through", "b")
    baselines["gradual"] = baseline(0.07)
    assert contenders(baselines) == ("straight_through", "gradual", "b")
    baselines["straight_through"] = baseline(0.2)
    assert contenders(baselines) == ("gradual", "b", "straight_through")
