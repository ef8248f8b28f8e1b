"""Which device code evaluates the population, as far as the caller left it open."""

import jax

from jgaprune.cache import cache_folder
from jgaprune.engine import Strategy, candidate_strategies, recall, tune, usual_strategy
from jgaprune.types import Key, MaskSpace, Objective

_WORTH_TUNING_SECONDS = 120.0
"""Shorter searches have little to gain."""
_WORTH_TUNING_TRIALS = 15
"""Four strategies cost as many trials, and a better one gains a quarter of the time at most."""
_FEW = 4
"""Candidates per pass of a form that was asked for without a chunk, at least."""


def choose_strategy(
    strategy: str | Strategy,
    chunk: int | str,
    space: MaskSpace,
    objective: Objective,
    key: Key,
    population: int,
    expected_seconds: float,
    trial_seconds: float,
) -> Strategy:
    """The strategy of a search.

    Args:
      strategy: one, or the name of a form, or "auto".
      chunk: candidates per pass, or "auto"; without a form, that of a plain `vmap`.
      space: of the search.
      objective: of the search.
      key: for random genomes.
      population: candidates of a generation.
      expected_seconds: how long the search will take candidate by candidate. If it is long, also
        beside `trial_seconds`, and nothing was remembered from an earlier one, all strategies are
        measured before.
      trial_seconds: how long it took to compile such an evaluation, and to run it a few times.
    """
    if isinstance(strategy, Strategy):
        return strategy
    usual = usual_strategy(space, objective, population)
    if strategy != "auto" or not isinstance(chunk, str):
        form = "vmap" if strategy == "auto" else strategy
        size = max(usual.chunk, min(population, _FEW)) if isinstance(chunk, str) else chunk
        return Strategy(form, 1 if form == "sequential" else size)
    if jax.process_count() > 1:  # which might measure, and remember, differently
        return usual
    candidates = candidate_strategies(space, objective, population)
    task = space, objective, key, population, candidates
    if known := recall(*task, cache=cache_folder("strategies")):
        return known.strategy
    if expected_seconds < max(_WORTH_TUNING_SECONDS, _WORTH_TUNING_TRIALS * trial_seconds):
        return usual
    return tune(*task, cache=cache_folder("strategies")).strategy
