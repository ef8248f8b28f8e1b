"""Racing in `prune`: what a look sees, what it costs, what comes out, and when it is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LABELS, MODEL, SPACES, SPARSITY, inputs_for, trees_equal

import jgaprune as jp
from jgaprune.bench.work import count_flops
from jgaprune.driver.inputs import Inputs
from jgaprune.driver.plan import Choices, Plan, plan_search
from jgaprune.driver.racing import look, make_screens, nested
from jgaprune.driver.wiring import make_repair

SPACE = SPACES["offsets"].space
MASKS = SPACE.decode(SPACE.sample(jax.random.key(3)))
CALL = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "population": 8}
CALL |= {"space": "offsets"}
MADE = inputs_for(MODEL, 12, seed=9)
BOTH = Inputs(jnp.concatenate([MADE, INPUTS]), len(MADE), "given and synthesised")


def race(**changed):
    return jp.prune(MODEL, **{**CALL, "evaluations": 40, "racing": True, **changed})


def plan(population=8, evolver="genetic") -> Plan:
    choices = Choices("offsets", "output_distance", evolver).as_pytrees()
    return plan_search(MODEL, choices, sparsity=SPARSITY, population=population, initial=population)


def screen(objective="output_distance", labels=None, repair="batch_norm_delta", fraction=1 / 4):
    racing = jp.Racing(fraction)
    (only,) = make_screens(MODEL, racing, plan(), objective, BOTH, labels, repair)
    return only


@pytest.fixture(scope="module")
def report():
    return race()


@pytest.mark.slow
def test_the_fitness_of_the_result_is_that_on_all_inputs(report):
    dense = MODEL.apply(MODEL.params, MODEL.buffers, INPUTS)
    logits = MODEL.apply(report.params, report.buffers, INPUTS)
    fitness, _ = jp.objectives.compare_outputs(logits, dense)
    assert report.fitness["best"] == pytest.approx(float(fitness), rel=1e-4)


@pytest.mark.slow
def test_never_worse_than_the_seeds_and_never_worsening(report):
    seeds = [baseline.repaired.fitness for baseline in report.baselines.values()]
    best = report.history.best
    assert best[0] <= min(seeds) * (1 + 1e-4)
    assert best == sorted(best, reverse=True)
    assert np.isfinite(report.history.mean_fitness).all()


@pytest.mark.slow
def test_same_key_same_run(report):
    again = race()
    assert trees_equal(again.masks, report.masks)
    assert again.history == report.history
    assert race(key=1).history != report.history


@pytest.mark.slow
def test_looks_are_paid_for_out_of_the_budget(report):
    assert report.settings["racing"] == [{"look_inputs": 2, "survivors": 2, "cost": 1 / 8}]
    each = 2 + 1
    assert report.history.evaluations == [8 + each * done for done in range(11)]
    assert report.evaluations == 38 and 38 + each > 40


@pytest.mark.slow
def test_shares_can_be_set():
    report = race(racing=jp.Racing(look_fraction=1 / 2, survivor_fraction=1 / 8))
    assert report.settings["racing"] == [{"look_inputs": 8, "survivors": 1, "cost": 1 / 2}]
    assert np.diff(report.history.evaluations).tolist() == [1 + 4] * report.generations


def test_nobody_races_unless_asked():
    report = jp.prune(MODEL, **CALL, evaluations=24)
    assert report.settings["racing"] == []
    assert np.diff(report.history.evaluations).tolist() == [8] * report.generations


@pytest.mark.parametrize("fraction", [1 / 16, 1 / 8, 0.3, 0.99])
@pytest.mark.parametrize(("num_made", "num_given"), [(64, 0), (0, 64), (40, 24), (63, 1), (1, 1)])
def test_a_look_takes_an_even_share_of_both_kinds_of_inputs(num_made, num_given, fraction):
    everything = jnp.arange(num_made + num_given)
    seen, indices = look(Inputs(everything, num_made, "both"), fraction)
    assert np.array_equal(seen.all, everything[indices])
    first, rest = np.split(indices, [seen.num_for_repair])
    for chosen, start, count in ((first, 0, num_made), (rest, num_made, num_given)):
        assert len(chosen) == min(count, max(1, round(fraction * count)))
        if count:
            gaps = np.diff([*chosen, chosen[0] + count])
            assert chosen[0] == start and gaps.min() >= 1 and np.ptp(gaps) <= 1


def test_a_look_is_the_runs_objective_and_repair_on_its_inputs(key):
    repair = jp.repair.batch_norm_delta(MODEL, MADE[::4], shown=INPUTS[::4])
    expected = jp.objectives.output_distance(MODEL, repair=repair)
    looked = screen().objective(key, MASKS)
    assert float(looked.fitness) == pytest.approx(float(expected(key, MASKS).fitness), rel=1e-5)
    raw = jp.objectives.output_distance(MODEL, inputs=repair.inputs)
    looked = screen(repair="none").objective(key, MASKS)
    assert float(looked.fitness) == pytest.approx(float(raw(key, MASKS).fitness), rel=1e-5)


def test_a_look_at_a_sum_of_objectives_is_the_sum_of_looks(key):
    parts = {"kl": 1.0, "feature_distance": 0.1}
    looked = screen("kl+0.1*feature_distance").objective(key, MASKS)
    expected = sum(
        weight * float(screen(name).objective(key, MASKS).fitness) for name, weight in parts.items()
    )
    assert float(looked.fitness) == pytest.approx(expected, rel=1e-5)


def test_a_look_keeps_every_input_with_its_label(key):
    labels = jnp.concatenate([jnp.arange(len(MADE)) % 5, LABELS])
    repair = jp.repair.batch_norm_delta(MODEL, MADE[::4], shown=INPUTS[::4])
    chosen = jnp.concatenate([labels[:12:4], LABELS[::4]])
    expected = jp.objectives.cross_entropy(MODEL, chosen, repair=repair)(key, MASKS)
    looked = screen("cross_entropy", labels).objective(key, MASKS)
    assert float(looked.fitness) == pytest.approx(float(expected.fitness), rel=1e-5)


@pytest.mark.parametrize("repair", ["batch_norm_delta", "none"])
def test_the_cost_of_a_look_is_its_share_of_the_arithmetic(key, repair):
    used = make_repair(MODEL, BOTH, repair)
    inputs = BOTH.all if repair == "none" else None
    full = jp.objectives.output_distance(MODEL, inputs=inputs, repair=used)
    one = screen(repair=repair, fraction=0.3)
    flops = [count_flops(objective, key, MASKS) for objective in (one.objective, full)]
    assert one.cost == flops[0] / flops[1] == 9 / 28


def test_survivors_are_a_share_of_the_children_and_not_of_generation_0():
    evolver = jp.evolvers.genetic(SPACE, population=4)
    (made,) = make_screens(
        MODEL,
        True,
        plan(population=8, evolver=evolver),
        "output_distance",
        BOTH,
        None,
        "batch_norm_delta",
    )
    assert made.survivors == 1


STAGES = (jp.Racing(1 / 8, 1 / 2), jp.Racing(1 / 4, 1 / 4))


@pytest.mark.slow
@pytest.mark.parametrize("racing", [jp.Racing(), [jp.Racing()]])
def test_one_look_is_the_same_however_it_is_asked_for(report, racing):
    again = race(racing=racing)
    assert trees_equal(again.masks, report.masks)
    assert again.history == report.history
    assert again.settings["racing"] == report.settings["racing"]


@pytest.mark.slow
def test_several_looks_are_paid_for_out_of_the_budget():
    report = race(racing=STAGES)
    assert report.settings["racing"] == [
        {"look_inputs": 2, "survivors": 4, "cost": 1 / 8},
        {"look_inputs": 4, "survivors": 2, "cost": 1 / 4},
    ]
    each = 2 + 8 // 8 + 4 // 4
    assert np.diff(report.history.evaluations).tolist() == [each] * report.generations
    assert report.evaluations <= 40
    assert report.history.best == sorted(report.history.best, reverse=True)


@pytest.mark.parametrize("fractions", [(1 / 16, 1 / 4), (0.1, 0.15, 0.4), (1 / 3, 1 / 2)])
@pytest.mark.parametrize(("num_made", "num_given"), [(64, 0), (0, 64), (40, 24), (63, 1), (1, 1)])
def test_the_inputs_of_a_look_are_among_those_of_the_next(num_made, num_given, fractions):
    inputs = Inputs(jnp.arange(num_made + num_given), num_made, "both")
    sights = nested(inputs, fractions)
    for (seen, indices), fraction in zip(sights, fractions, strict=True):
        assert np.array_equal(seen.all, indices) and (np.diff(indices) > 0).all()
        assert seen.num_for_repair == np.sum(indices < num_made)
        wanted = [max(1, fraction * count) if count else 0 for count in (num_made, num_given)]
        assert abs(len(indices) - sum(wanted)) <= 2
    for (_, fewer), (_, more) in itertools.pairwise(sights):
        assert set(fewer.tolist()) <= set(more.tolist())
    alone = look(inputs, fractions[-1])[1]
    assert np.array_equal(sights[-1][1], alone)


def test_looks_that_few_inputs_or_children_make_equal_are_one():
    def screens(racing, children=8):
        return make_screens(
            MODEL, racing, plan(children), "output_distance", BOTH, None, "batch_norm_delta"
        )

    by_inputs = screens((jp.Racing(1 / 28, 1 / 2), jp.Racing(1 / 27, 1 / 4)))
    assert [(one.survivors, round(28 * one.cost)) for one in by_inputs] == [(2, 2)]
    by_children = screens((jp.Racing(1 / 8, 1 / 2), jp.Racing(1 / 4, 1 / 4)), children=2)
    assert [(one.survivors, round(28 * one.cost)) for one in by_children] == [(1, 4)]


@pytest.mark.slow
def test_evosax_races_too():
    report = race(evolver="evosax:CMA_ES")
    assert np.diff(report.history.evaluations).tolist() == [3] * report.generations
    assert np.isfinite(report.history.mean_fitness).all()


OWN_OBJECTIVE = jp.objectives.kl(MODEL, inputs=INPUTS)
OWN_REPAIR = jp.repair.batch_norm_delta(MODEL, INPUTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": OWN_OBJECTIVE}, r"objective of your own.*Screen.*build_search"),
        ({"repair": OWN_REPAIR}, r"repair of your own.*Screen.*build_search"),
        ({"evolver": "paper3"}, "paper3 evaluates every child"),
        ({"racing": 0.5}, r"racing must be .*got 0\.5"),
        ({"racing": jp.Racing(look_fraction=8)}, r"look_fraction must be in \(0, 1\), got 8"),
        ({"racing": jp.Racing(survivor_fraction=0)}, "survivor_fraction must be"),
        ({"racing": ()}, r"racing must be .*got \(\)"),
        ({"racing": (jp.Racing(), 0.5)}, r"racing must be .*0\.5"),
        (
            {"racing": (jp.Racing(1 / 4, 1 / 8), jp.Racing(1 / 4, 1 / 8), jp.Racing(2, 1 / 16))},
            r"must be in \(0, 1\), got 2; look_fraction must grow.*survivor_fraction.* must fall",
        ),
        (
            {"objective": OWN_OBJECTIVE, "evolver": "paper3", "sparsity": 2},
            r"(?s)fraction.*objective of your own.*paper3",
        ),
    ],
)
def test_what_cannot_race_is_refused_before_anything_is_computed(change, message):
    def fail(progress):
        raise AssertionError("the work began")

    with pytest.raises(ValueError, match=message):
        race(**change, on_record=fail)
