"""What a run spends where the caller leaves it open."""

import pytest

from jgaprune.driver.budget import Budget
from jgaprune.driver.presets import PRESETS

USUAL = PRESETS["default"]


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_caller_asked_for_is_not_touched(name):
    for asked in (Budget(evaluations=7), Budget(generations=3), Budget(seconds=2.0)):
        assert PRESETS[name].budget(asked, refits=True) == asked


def test_presets_are_one_effort_at_three_sizes():
    for refits in (True, False):
        counts = [PRESETS[name].budget(Budget(), refits).evaluations for name in PRESETS]
        assert counts == sorted(counts) and counts[2] == 4 * counts[1]
        assert counts[0] == pytest.approx(counts[1] / 3, abs=1)
    assert [PRESETS[name].steps for name in PRESETS] == [400, 1200, 4800]


def test_a_large_population_gets_a_few_generations():
    assert USUAL.budget(Budget(), True, 64).evaluations == 4 * 64
    assert USUAL.budget(Budget(), True, 8).evaluations == USUAL.refitted
    assert USUAL.budget(Budget(evaluations=70), True, 64).evaluations == 70


@pytest.mark.parametrize(
    ("budget", "refits", "steps"),
    [
        (Budget(evaluations=60), True, 600),
        (Budget(evaluations=500), True, 1200),
        (Budget(evaluations=500), False, 600),
        (Budget(generations=5), True, 480),
        (Budget(seconds=1.0), True, 1200),
        (Budget(evaluations=120, generations=2), True, 240),
    ],
)
def test_training_shrinks_with_the_budget_and_never_grows(budget, refits, steps):
    assert USUAL.steps_within(budget, refits, population=8) == steps
