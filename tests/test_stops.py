"""What ends a search beside its budget: a fitness that is good enough, and patience."""

import pytest
from helpers import INPUTS, MODEL, SPARSITY

import jgaprune as jp
from jgaprune.driver.budget import Budget

CALL = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "space": "offsets"}
CALL |= {"population": 4, "generations": 14}


@pytest.fixture(scope="module")
def best():
    return jp.prune(MODEL, **CALL).history.best


@pytest.mark.slow
def test_a_good_enough_fitness_ends_the_search_in_its_generation(best):
    steps = [index for index in range(1, len(best)) if best[index] < best[index - 1]]
    target = best[steps[len(steps) // 2]]
    report = jp.prune(MODEL, **CALL, target_fitness=target)
    assert report.history.best == best[: best.index(target) + 1]
    stages = jp.prune(MODEL, **{**CALL, "space": "offsets,levels"}, target_fitness=best[0])
    assert stages.generations == 0 and len(stages.settings["stages"]) == 1
    assert stages.settings["target"] == best[0]


@pytest.mark.slow
def test_patience_ends_it_after_so_many_generations_without_a_better_best(best):
    patience = 2
    lasting = (i for i in range(patience, len(best)) if best[i] == best[i - patience])
    end = next(lasting, len(best) - 1)
    report = jp.prune(MODEL, **CALL, patience=patience)
    assert report.history.best == best[: end + 1]


@pytest.mark.slow
def test_patience_begins_anew_in_every_stage():
    call = {**CALL, "space": "offsets,levels", "generations": 40}
    report = jp.prune(MODEL, **call, patience=1)
    first, second = report.settings["stages"]
    assert second["generations"] >= 2  # its generation 0, and at least one that was waited for
    assert report.generations < 40


def test_patience_below_one_is_refused():
    with pytest.raises(ValueError, match="patience must be above 0, got 0"):
        jp.prune(MODEL, **CALL, patience=0)


def test_time_left_bounds_a_block():
    assert Budget(seconds=10.0).fits(9.9, each=0.5) == 1
    assert Budget(seconds=10.0).fits(2.0, each=0.5) == 16
