"""Strategies are measured once, remembered, and never in the way."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import OBJECTIVES, SPACES

from jgaprune.driver import strategy as choice
from jgaprune.engine import (
    SEQUENTIAL,
    Strategy,
    Tuning,
    candidate_strategies,
    recall,
    tune,
    with_strategy,
)

SPACE, OBJECTIVE = SPACES["offsets"].space, OBJECTIVES["logit_cosine"]
CANDIDATES = [SEQUENTIAL, Strategy("vmap", 2)]


def test_what_was_measured_is_remembered(tmp_path, key):
    task = SPACE, OBJECTIVE, key, 4, CANDIDATES
    assert recall(*task, cache=tmp_path) is None
    found = tune(*task, cache=tmp_path)
    assert set(found.seconds) == {"sequential", "vmap of 2"}
    assert found.strategy in CANDIDATES
    assert recall(*task, cache=tmp_path) == found
    assert tune(*task, cache=tmp_path) == found


def test_another_task_is_another_question(tmp_path, key):
    tune(SPACE, OBJECTIVE, key, 4, CANDIDATES, cache=tmp_path)
    assert recall(SPACE, OBJECTIVE, key, 6, CANDIDATES, cache=tmp_path) is None
    assert recall(SPACE, OBJECTIVE, key, 4, CANDIDATES[:1], cache=tmp_path) is None


def test_a_damaged_memory_is_measured_again(tmp_path, key):
    task = SPACE, OBJECTIVE, key, 4, CANDIDATES
    tune(*task, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    for damaged in ("", "[]", '{"strategy": {"form": "magic"}, "seconds": {}}'):
        file.write_text(damaged)
        assert recall(*task, cache=tmp_path) is None
    assert tune(*task, cache=tmp_path).seconds
    assert recall(*task, cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path, key):
    (tmp_path / "taken").write_text("a file where the folder should be")
    task = SPACE, OBJECTIVE, key, 4, CANDIDATES
    assert tune(*task, cache=tmp_path / "taken").strategy in CANDIDATES


def test_the_usual_strategy_stays_unless_another_is_clearly_faster(monkeypatch, key):
    seconds = {"sequential": 1.0, "vmap of 2": 0.95, "vmap of 4": 0.5}
    monkeypatch.setattr(
        "jgaprune.engine.tuning._seconds_per_candidate", lambda *task: seconds[str(task[-1])]
    )
    task = SPACE, OBJECTIVE, key, 4
    assert tune(*task, CANDIDATES).strategy == SEQUENTIAL
    faster = Strategy("vmap", 4)
    assert tune(*task, [*CANDIDATES, faster]).strategy == faster


def failing(seconds):
    """A measurement that knows these seconds and fails where they are None."""

    def measure(*task):
        if seconds[str(task[-1])] is None:
            raise NotImplementedError(f"no lowering of {task[-1]}")
        return seconds[str(task[-1])]

    return measure


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"sequential": 1.0, "vmap of 2": None}, CANDIDATES[0]),
        ({"sequential": None, "vmap of 2": 5.0}, CANDIDATES[1]),
    ],
    ids=["another", "the usual one"],
)
def test_a_strategy_that_fails_is_left_out(seconds, chosen, monkeypatch, tmp_path, key):
    monkeypatch.setattr("jgaprune.engine.tuning._seconds_per_candidate", failing(seconds))
    task = SPACE, OBJECTIVE, key, 4, CANDIDATES
    found = tune(*task, cache=tmp_path)
    assert found == Tuning(chosen, seconds)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["seconds"] == seconds
    assert recall(*task, cache=tmp_path) == found


def test_a_machine_on_which_nothing_works_is_no_secret(monkeypatch, tmp_path, key):
    nothing = failing({"sequential": None, "vmap of 2": None})
    monkeypatch.setattr("jgaprune.engine.tuning._seconds_per_candidate", nothing)
    with pytest.raises(NotImplementedError, match="no lowering of sequential"):
        tune(SPACE, OBJECTIVE, key, 4, CANDIDATES, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_kernel_that_does_not_compile_is_left_out(monkeypatch, key):
    def refuse(*arguments, **options):
        raise NotImplementedError("Only interpret mode is supported")

    monkeypatch.setattr("jgaprune.ops.masked_product.pl.pallas_call", refuse)
    found = tune(SPACE, OBJECTIVE, key, 4, [SEQUENTIAL, Strategy("kernel", 2)])
    assert found.strategy == SEQUENTIAL
    assert found.seconds["kernel of 2"] is None and found.seconds["sequential"]


def test_accelerators_try_the_kernel(monkeypatch):
    monkeypatch.setattr("jgaprune.engine.tuning.usual_strategy", lambda *task: Strategy("vmap", 8))
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert Strategy("kernel", 8) in candidate_strategies(SPACE, OBJECTIVE, 16)


@pytest.mark.parametrize("population", [1, 2, 3, 16])
def test_candidates_fit_the_population(population):
    candidates = candidate_strategies(SPACE, OBJECTIVE, population)
    assert len(set(candidates)) == len(candidates)
    assert all(one.chunk <= population for one in candidates)


def test_tuning_needs_candidates(key):
    with pytest.raises(ValueError, match="at least one"):
        tune(SPACE, OBJECTIVE, key, 4, [])


@pytest.mark.parametrize(
    "wrong",
    [{"form": "magic"}, {"dtype": "int8"}, {"chunk": 0}, {"form": "sequential", "chunk": 2}],
)
def test_impossible_strategies_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Strategy(**wrong)


def test_equal_strategies_share_a_program():
    assert jax.tree.structure(Strategy("vmap", 2)) == jax.tree.structure(Strategy("vmap", 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", [SEQUENTIAL, Strategy("matmul", 3), Strategy("kernel", 3), Strategy("unrolled", 2)]
)
def test_a_plain_vmap_follows_the_strategy(strategy, key):
    masks = jax.vmap(lambda key: SPACE.decode(SPACE.sample(key)))(jax.random.split(key, 5))

    @jax.jit
    def in_a_scan(masks):
        score = with_strategy(OBJECTIVE, strategy)

        def body(_, key):
            return None, jax.vmap(score, in_axes=(None, 0))(key, masks).fitness

        return jax.lax.scan(body, None, jax.random.split(key, 2))[1]

    expected = jax.vmap(OBJECTIVE, in_axes=(None, 0))(key, masks).fitness
    np.testing.assert_allclose(in_a_scan(masks), jnp.stack([expected] * 2), rtol=2e-4)


@pytest.mark.parametrize(
    ("expected", "trial", "tunes"),
    [(119.0, 1.0, False), (121.0, 1.0, True), (500.0, 34.0, False), (520.0, 34.0, True)],
)
def test_strategies_are_measured_where_the_search_is_long_beside_a_trial(
    expected, trial, tunes, monkeypatch, key
):
    usual, found = Strategy("sequential", 1), Strategy("vmap", 4)
    monkeypatch.setattr(choice, "usual_strategy", lambda *task: usual)
    monkeypatch.setattr(choice, "candidate_strategies", lambda *task: [usual, found])
    monkeypatch.setattr(choice, "recall", lambda *task, cache: None)
    monkeypatch.setattr(choice, "tune", lambda *task, cache: Tuning(found, {}))
    chosen = choice.choose_strategy("auto", "auto", None, None, key, 4, expected, trial)
    assert chosen == (found if tunes else usual)
