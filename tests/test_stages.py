"""Searches in several spaces as one run: what is handed over, counted, kept and refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, SPACES, SPARSITY, base, count, trees_equal

import jgaprune as jp
from jgaprune import saliency, spaces
from jgaprune.driver import stages
from jgaprune.driver.budget import Budget
from jgaprune.masks import kept_for

CALL = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "population": 4}
CALL["gradient_swaps"] = False  # so that a generation costs what its children do
COARSE_TO_FINE = "levels,offsets,channels,weights"


def prune(**changed):
    return jp.prune(MODEL, **{**CALL, "space": "offsets,weights", "evaluations": 40, **changed})


def said(report, pattern):
    return any(re.search(pattern, warning) for warning in report.warnings)


@pytest.fixture(scope="module")
def report():
    return prune(space=COARSE_TO_FINE, evaluations=66)


def test_the_best_never_worsens_and_the_hand_over_loses_nothing(report):
    best = report.history.best
    assert best == sorted(best, reverse=True)
    assert report.fitness["best"] == best[-1] < best[0]
    assert not said(report, "no genome for the best masks")
    assert count(report.masks) == kept_for(SPARSITY, LAYOUT.num_weights)


def test_the_curve_is_one_and_the_report_says_where_its_stages_end(report):
    assert report.history.evaluations == list(range(4, 65, 4))
    assert report.generations == 15 and report.evaluations == 64
    found = report.settings["stages"]
    assert [stage["space"] for stage in found] == COARSE_TO_FINE.split(",")
    assert sum(stage["evaluations"] for stage in found) == report.evaluations
    assert sum(stage["generations"] for stage in found) == report.generations
    ends = np.cumsum([stage["evaluations"] for stage in found])
    assert all(end <= 66 * (index + 1) / 4 for index, end in enumerate(ends))
    at_end = dict(zip(report.history.evaluations, report.history.best, strict=True))
    assert [stage["best"] for stage in found] == [at_end[int(end)] for end in ends]
    assert report.to_json()["settings"]["stages"] == found


def test_same_key_same_run(report):
    again = prune(space=COARSE_TO_FINE.split(","), evaluations=66)
    assert again.history == report.history and trees_equal(again.masks, report.masks)


@pytest.mark.slow
def test_one_space_in_a_list_is_that_space():
    alone, listed = prune(space="weights"), prune(space=["weights"])
    assert alone.history == listed.history and trees_equal(alone.masks, listed.masks)
    assert alone.settings == listed.settings


@pytest.mark.parametrize("limit", [{"generations": 5}, {"evaluations": 23}, {"seconds": 1e-6}])
def test_budgets_hold(limit):
    report = prune(**{"evaluations": None, **limit})
    generations = {"generations": 5, "evaluations": 4, "seconds": 1}[next(iter(limit))]
    assert report.generations == generations
    assert report.evaluations == 4 * (1 + generations) == report.history.evaluations[-1]


@pytest.mark.parametrize("num_stages", [1, 2, 3, 7])
def test_shares_add_up_and_leave_room_for_a_generation_in_each(num_stages):
    budget = Budget(evaluations=100, generations=9, seconds=3.0)
    ends = [budget.until(stage, num_stages) for stage in range(num_stages)]
    assert ends[-1] == budget
    for what in ("evaluations", "generations"):
        shares = np.diff([0, *(getattr(end, what) for end in ends)])
        assert shares.min() >= getattr(budget, what) // num_stages and np.ptp(shares) <= 1


@pytest.mark.parametrize("phase", ["compile", "search"])
def test_an_interrupt_in_a_later_stage_keeps_what_there_is(phase):
    whole = prune()
    first = whole.settings["stages"][0]["evaluations"]

    def interrupt(progress):
        last = interrupt.evaluations
        interrupt.evaluations = max(last, progress.evaluations)
        if progress.phase == phase and last >= first:
            raise KeyboardInterrupt

    interrupt.evaluations = 0
    report = prune(on_record=interrupt)
    assert report.interrupted and first <= report.evaluations < whole.evaluations
    assert report.fitness["best"] <= whole.settings["stages"][0]["best"]
    done = len(report.history.best)
    assert report.history.best == whole.history.best[:done]


def test_what_a_later_space_cannot_express_is_said_and_kept():
    report = prune(space="channels,levels")
    assert said(report, "levels has no genome for the best masks")
    best = report.history.best
    assert best == sorted(best, reverse=True)
    dense = MODEL.apply(MODEL.params, MODEL.buffers, INPUTS)
    logits = MODEL.apply(report.params, report.buffers, INPUTS)
    fitness, _ = jp.objectives.compare_outputs(logits, dense)
    assert report.fitness["best"] == pytest.approx(float(fitness), rel=1e-4)


def test_spaces_of_ones_own_are_stages_too():
    own = [SPACES["offsets"].space, SPACES["weights"].space]
    report = prune(space=own)
    assert [stage["space"] for stage in report.settings["stages"]] == ["custom", "custom"]
    assert report.settings["space"] == "custom,custom"


@pytest.mark.slow
@pytest.mark.parametrize("evolver", ["level_switch", "random_search"])
def test_evolvers_are_built_anew_for_every_space(evolver):
    report = prune(evolver=evolver)
    assert report.history.best == sorted(report.history.best, reverse=True)
    assert report.evaluations == 40


@pytest.mark.slow
def test_evosax_searches_in_stages_of_real_numbers():
    report = prune(evolver="evosax:CMA_ES", space="blocks,offsets")
    assert report.history.best == sorted(report.history.best, reverse=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": "offsets,weight"}, "space must be one of .*got 'weight'"),
        ({"space": []}, "at least one space"),
        ({"space": ["offsets", 3]}, "a name, a MaskSpace, or a list of them, got 3"),
        ({"evolver": "paper4"}, "paper4 follows one schedule in one space"),
        ({"evolver": "evosax:CMA_ES"}, "space weights are bits"),
        ({"evolver": jp.evolvers.genetic(SPACES["offsets"].space, population=4)}, "of your own"),
        ({"evaluations": 7}, "generation 0 of 4 candidates in each of 2 stages"),
        ({"generations": 1}, "too few for 2 stages"),
        (
            {"space": ["offsets", SPACES["weights"].space._replace(encode=None)]},
            "`encode` is None",
        ),
        (
            {"space": "level,weights", "evolver": "paper1", "sparsity": 2.0},
            r"(?s)got 'level'.*paper1 follows.*fraction",
        ),
    ],
)
def test_what_cannot_be_staged_is_refused_before_anything_is_computed(change, message):
    def fail(progress):
        raise AssertionError("the work began")

    with pytest.raises(ValueError, match=message):
        prune(**change, on_record=fail)


def test_the_order_of_masks_has_them_as_its_one_shot_masks(key):
    """Of every genome of `bases`, and of `offsets` where magnitude is the only base."""
    wanda = saliency.protect(
        saliency.wanda(MODEL, INPUTS, SPARSITY), LAYOUT, kept_for(SPARSITY, LAYOUT.num_weights)
    )
    several = [base(), wanda]
    for saliencies in (several, several[:1]):
        space = spaces.bases(saliencies, LAYOUT, SPARSITY)
        for one in jax.random.split(key, 4):
            mutant = space.mutate(one, space.sample(one), jnp.float32(1.0))
            masks = space.decode(mutant)
            order = spaces.order_of(saliencies, LAYOUT, SPARSITY, masks)
            assert trees_equal(saliency.one_shot(order, LAYOUT, SPARSITY), masks)


def test_a_hand_over_puts_the_best_first_and_nothing_twice(key):
    coarse, fine = SPACES["levels"].space, SPACES["weights"].space
    genomes = jax.vmap(coarse.sample)(jax.random.split(key, 4))
    genomes = jnp.concatenate([genomes, genomes])
    fitness = jnp.arange(8.0)[::-1]
    evolver = jp.evolvers.genetic(coarse, population=8).init(key, genomes, fitness)
    done = stages.Progression(coarse, genomes[3], 0.0)
    done.state = jp.SearchState(key, evolver, None, None, None)
    plan = stages.Plan(fine, jp.evolvers.genetic(fine, population=3), 3)
    found = stages.handed_over(done, coarse, plan)
    expected = jp.refine(coarse, fine, genomes[jnp.array([3, 2, 1])])
    assert trees_equal(found, expected)
