"""What goes wrong around a run: folders, disks, clocks, NaN and callbacks."""

import errno
import itertools
import math
import resource
import time

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import trees_equal
from test_resume import StopError, assert_same, lines, prune

import jgaprune as jp
from jgaprune.checkpoint import folder as checkpoint_folder
from jgaprune.driver.history_file import HistoryFile
from jgaprune.driver.progression import Progression
from jgaprune.report.report import History


@pytest.fixture(scope="module")
def whole():
    return prune()


def raises(number):
    def fail(*_, **__):
        raise OSError(number, "as a test has it")

    return fail


def nothing_is_told(progress):
    raise AssertionError(progress)


UNWRITABLE = {
    "below a file": lambda patch, path: path.parent.write_text("no folder"),
    "a file": lambda patch, path: (path.parent.mkdir(), path.write_text("no folder")),
    "no folder may be made": lambda patch, path: patch.setattr("os.mkdir", raises(errno.EACCES)),
    "no file may be made": lambda patch, path: patch.setattr(
        checkpoint_folder, "open", raises(errno.EROFS), raising=False
    ),
    "no room": lambda patch, path: patch.setattr("os.fsync", raises(errno.ENOSPC)),
}


@pytest.mark.parametrize("fault", UNWRITABLE)
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_done(
    tmp_path, monkeypatch, fault
):
    path = tmp_path / "kept" / "run"
    with monkeypatch.context() as patch:
        UNWRITABLE[fault](patch, path)
        with pytest.raises(OSError, match=r"can't be kept in .*run \(.+\)\. Choose a folder"):
            prune(path, on_record=nothing_is_told)


def _progression(generations):
    rows = [float(index) for index in range(generations)]
    history = History([4 * (index + 1) for index in range(generations)], rows, rows, rows)
    return Progression(None, None, 0.0, history=history)


def test_a_full_disk_leaves_whole_lines_and_the_next_ones_follow(tmp_path):
    """The file that could not be written was closed once, and every later line ended the run."""
    file, path = HistoryFile(tmp_path), tmp_path / "history.jsonl"
    file.begin(History())
    file.add(_progression(2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, before[1]))
        for generations in (3, 4):
            with pytest.raises(OSError):
                file.add(_progression(generations))
            assert [line["generation"] for line in lines(tmp_path)] == [0, 1]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    file.add(_progression(5))
    assert [line["generation"] for line in lines(tmp_path)] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_history_that_cannot_be_begun_is_begun_later(tmp_path, whole, monkeypatch):
    begin, attempts = HistoryFile.begin, itertools.count()

    def fails_twice(self, history):
        if next(attempts) < 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        begin(self, history)

    monkeypatch.setattr(HistoryFile, "begin", fails_twice)
    report = prune(tmp_path / "run")
    assert report.history == whole.history and trees_equal(report.masks, whole.masks)
    (said,) = [warning for warning in report.warnings if "No space left" in warning]
    assert said.startswith("history.jsonl")
    assert [line["best"] for line in lines(tmp_path / "run")] == whole.history.best


UNMEASURED = {"strategy": "sequential"}
"""Else a search that may be long measures what runs well here, which later ones then know."""


def shifted(clock, offset):
    return lambda: clock() + offset["seconds"]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [None, 0.4])
def test_the_time_of_day_may_jump(tmp_path, whole, monkeypatch, seconds):
    """Nothing of ours is measured by it; Orbax, which waits by it, may give up a checkpoint."""
    offset, jumps = {"seconds": 0.0}, itertools.cycle((-1e9, 1e6, -86400.0))
    monkeypatch.setattr(time, "time", shifted(time.time, offset))
    limited = {**UNMEASURED, "seconds": seconds, "evaluations": None} if seconds else {}

    def jump(progress):
        offset["seconds"] = next(jumps)

    started = time.monotonic()
    report = prune(tmp_path / "run", every="0.05s", on_record=jump, **limited)
    elapsed = time.monotonic() - started
    assert all(0 <= value <= elapsed for value in report.seconds.values())
    told = [line["seconds"] for line in lines(tmp_path / "run")]
    assert told == sorted(told) and told[0] >= 0 and told[-1] <= elapsed
    assert not report.interrupted
    if seconds is not None:
        assert report.seconds["search"] >= seconds
        return
    assert report.history == whole.history and trees_equal(report.masks, whole.masks)
    others = set(report.warnings) - set(whole.warnings)
    assert all(warning.startswith("A checkpoint up to generation") for warning in others)
    assert_same(prune(tmp_path / "run"), whole, tmp_path / "run")


def test_a_machine_that_slept_ends_its_search_in_time_and_goes_on_with_more(tmp_path, monkeypatch):
    """Where the clocks that measure go on asleep, the budget of seconds is used up then."""
    offset = {"seconds": 0.0}
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, shifted(getattr(time, name), offset))

    def sleep(progress):
        if progress.phase == "search":
            offset["seconds"] = 7200.0

    kept = {**UNMEASURED, "every": "1h", "evaluations": None, "seconds": 3600.0}
    report = prune(tmp_path / "run", on_record=sleep, space="offsets", **kept)
    assert 1 <= report.generations < 100 and not report.interrupted
    assert 7200 <= report.seconds["search"] < 7300
    more = {**kept, "seconds": None, "generations": 2}
    again = prune(tmp_path / "run", further=True, space="offsets", **more)
    assert again.generations == report.generations + 2
    assert again.history.best[: report.generations + 1] == report.history.best


WEIGHTS = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)) + 3.0, jnp.float32)}
LEAST = np.unravel_index(int(jnp.argmin(jnp.abs(WEIGHTS["w"]))), (6, 4))
FEW = {"sparsity": 0.5, "inputs": np.ones((8, 6), np.float32), "population": 4, "key": 1}
FEW |= {"space": "offsets,weights", "evaluations": 40, "gradient_swaps": False, "repair": "none"}


def _fails_without(params, inputs):
    return jnp.where(params["w"][LEAST] == 0, jnp.nan, inputs @ params["w"])


def _fails_when_pruned(params, inputs):
    return jnp.where((params["w"] == 0).any(), jnp.nan, inputs @ params["w"])


def _always_fails(params, inputs):
    return inputs @ params["w"] * jnp.nan


def _stopped_and_resumed(model, folder, **changed):
    """A run that is stopped in its second stage, and as it ends when it goes on."""
    call = {**FEW, **changed, "checkpoint_dir": jp.Checkpoints(folder, every=1, resume=True)}

    def stop(progress):
        if progress.phase == "search" and progress.generation >= 6:
            raise StopError

    with pytest.raises(StopError):
        jp.prune(model, **call, on_record=stop)
    return jp.prune(model, **call)


@pytest.mark.slow
def test_candidates_that_give_nan_never_win_and_are_counted(tmp_path):
    model = jp.Model.from_fn(_fails_without, WEIGHTS, (6,))
    whole = jp.prune(model, **FEW, seeds=False)
    (said,) = [warning for warning in whole.warnings if "gave NaN" in warning]
    assert 0 < int(said.split()[0]) < whole.evaluations
    assert math.isfinite(whole.fitness["best"]) and bool(whole.masks["w"][LEAST])
    again = _stopped_and_resumed(model, tmp_path / "run", seeds=False)
    assert again.history == whole.history and again.warnings == whole.warnings
    assert trees_equal(again.masks, whole.masks)


@pytest.mark.slow
@pytest.mark.parametrize("fails", [_fails_when_pruned, _always_fails])
def test_a_search_where_every_candidate_gives_nan_ends_and_says_so(tmp_path, fails):
    model = jp.Model.from_fn(fails, WEIGHTS, (6,))
    whole = jp.prune(model, **FEW)
    assert f"{whole.evaluations} evaluations gave NaN and counted as the worst." in whole.warnings
    assert any("the masks are arbitrary" in warning for warning in whole.warnings)
    assert whole.fitness == {"start": math.inf, "best": math.inf}
    assert whole.evaluations <= 40 and whole.sparsity == 0.5
    again = _stopped_and_resumed(model, tmp_path / "run")
    assert again.history == whole.history and again.warnings == whole.warnings
    again.save(tmp_path / "out")
    assert whole.to_json()["fitness"]["best"] is None


@pytest.mark.parametrize(
    "budget",
    [{"patience": 2}, {"seconds": 0.5}, {"generations": 3, "target_fitness": 0.1}],
    ids=str,
)
def test_no_budget_waits_for_a_fitness_that_never_comes(budget):
    model = jp.Model.from_fn(_fails_when_pruned, WEIGHTS, (6,))
    few = {**FEW, "evaluations": None, "space": "offsets", "generations": 10**6, **budget}
    report = jp.prune(model, **few)
    assert report.generations < 10**6 and not report.interrupted
    assert any("the masks are arbitrary" in warning for warning in report.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["baselines", "compile", "finish", "end"])
def test_a_callback_that_raises_in_any_phase_leaves_a_run_to_be_gone_on_with(
    tmp_path, whole, phase
):
    def fail(progress):
        if progress.phase == phase:
            raise StopError

    with pytest.raises(StopError):
        prune(tmp_path / "run", on_record=fail)
    assert_same(prune(tmp_path / "run"), whole, tmp_path / "run")
