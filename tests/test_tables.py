"""Nothing public is missing from the tables that every law runs over."""

from helpers import (
    EVOLVERS,
    INPUTS,
    MODEL,
    OBJECTIVES,
    OTHER_SALIENCIES,
    RECONSTRUCT,
    SALIENCIES,
    SPACES,
    SPARSITY,
)

from jgaprune import driver, evolvers, objectives, saliency, spaces
from jgaprune.driver.baselines import one_shot_scores


def test_every_saliency_has_a_row():
    helpers_of_saliencies = {
        "MOST_INPUTS",
        "minimum_per_layer",
        "one_shot",
        "protect",
        "ranked",
        "sparse_gpt",
    }
    rows = set(SALIENCIES) | set(OTHER_SALIENCIES)
    assert rows == set(saliency.__all__) - helpers_of_saliencies
    scores = one_shot_scores(MODEL, SPARSITY, INPUTS, RECONSTRUCT)
    assert set(scores) == rows - {"row_magnitude"}  # a rival only: no seed, no base


def test_every_space_has_a_row():
    builders = set(spaces.__all__) - {"order_of"}
    details = {"blocks", "channels", "input_channels"}  # of `offsets`
    assert {name.split("_")[0] for name in SPACES} == builders == set(driver.SPACES) - details


def test_every_objective_has_a_row():
    others = {"Features", "features_of", "top_outputs"}
    builders = {name for name in objectives.__all__ if not name.startswith("compare")} - others
    assert {name.removesuffix("_top") for name in OBJECTIVES} == builders
    assert builders - {"weighted_sum"} == set(driver.OBJECTIVES)


def test_every_evolver_has_a_row():
    helpers_of_evolvers = {
        "CIFAR10_SCHEDULE",
        "MNIST_SCHEDULE",
        "Schedule",
        "complement",
        "evosax_algorithm",
        "initial_population",
        "reciprocal",
        "schedule_named",
        "to_evosax",
    }
    assert set(EVOLVERS) == set(evolvers.__all__) - helpers_of_evolvers
