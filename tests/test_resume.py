"""Runs that are kept on the disk: wherever they were stopped, they end as if never stopped."""

import errno
import json
import re
import shutil

import jax
import numpy as np
import pytest
from helpers import INPUTS, MODEL, SPARSITY, small_model, trees_equal

import jgaprune as jp
from jgaprune.checkpoint import Steps, exclusive

TWO_STAGES = {"space": "offsets,weights", "evaluations": 40}
GENERATIONS = 9


class StopError(Exception):
    """What a callback raises."""


def prune(
    folder=None,
    model=MODEL,
    stop=None,
    every=2,
    resume=True,
    further=False,
    on_record=None,
    **changed,
):
    """A run, kept in a folder, which its callback may stop after some generations."""

    def watch(progress):
        if stop is not None and progress.phase == "search" and progress.generation >= stop:
            raise StopError

    kept = folder and jp.Checkpoints(folder, every=every, resume=resume, further=further)
    call = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "population": 4}
    call |= {"gradient_swaps": False, **TWO_STAGES, **changed}
    listeners = [watch, on_record] if on_record else watch
    return jp.prune(model, **call, checkpoint_dir=kept, on_record=listeners)


def lines(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def assert_same(report, whole, folder):
    for name in ("masks", "params", "buffers"):
        assert trees_equal(getattr(report, name), getattr(whole, name)), name
    assert report.history == whole.history
    assert report.settings == whole.settings
    assert (report.fitness, report.warnings) == (whole.fitness, whole.warnings)
    written = lines(folder)
    assert [line["generation"] for line in written] == list(range(len(whole.history.best)))
    for name in ("best", "evaluations", "mean_fitness", "diversity"):
        assert [line[name] for line in written] == getattr(whole.history, name)


@pytest.fixture(scope="module")
def whole():
    return prune()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped in its second stage."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StopError):
        prune(folder, stop=7)
    return folder


@pytest.fixture
def folder(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.mark.parametrize(
    "generation",
    [
        pytest.param(g, marks=[] if g in (0, 5, 9) else pytest.mark.slow)
        for g in range(GENERATIONS + 1)
    ],
)
def test_stopped_at_any_generation_it_ends_as_if_never_stopped(
    tmp_path, whole, monkeypatch, generation
):
    """Generation 5 is the first of the second stage."""
    saved = Steps.save

    def save(self, number, *content):
        saved(self, number, *content)
        if number == generation and "start" in content[1]:
            raise StopError

    assert whole.generations == GENERATIONS
    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(Steps, "save", save)
        prune(tmp_path / "run", every=1)
    assert [line["generation"] for line in lines(tmp_path / "run")] == list(range(generation + 1))
    assert_same(prune(tmp_path / "run"), whole, tmp_path / "run")


OTHERS = {
    "refitted": {"space": "bases", "train_steps": 2, "evaluations": 16},
    "evosax": {"space": "offsets", "evolver": "evosax:CMA_ES"},
    "level_switch": {"space": "levels", "evolver": "level_switch"},
    "racing": {"space": "offsets", "racing": True, "population": 8},
    "paper": {
        **{"space": "scores", "evolver": "paper4", "population": None, "evaluations": None},
        **{"generations": 3, "repair": "none"},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_whatever_evolves_goes_on(tmp_path, name):
    whole = prune(**OTHERS[name])
    with pytest.raises(StopError):
        prune(tmp_path / "run", stop=2, **OTHERS[name])
    assert_same(prune(tmp_path / "run", **OTHERS[name]), whole, tmp_path / "run")


def test_a_run_that_is_over_can_go_on(folder, whole):
    prune(folder)
    more = prune(folder, further=True, evaluations=None, generations=2)
    assert more.generations == GENERATIONS + 2
    assert more.history.best[: GENERATIONS + 1] == whole.history.best
    assert len(lines(folder)) == GENERATIONS + 3


def test_another_call_or_model_is_refused_and_nothing_changes(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError) as caught:
        prune(folder, sparsity=0.5, key=3, inputs=INPUTS[:8])
    for words in (r"sparsity: 0\.75, now 0\.5", "key: 0, now 3", r"inputs: \w{12}\.\.\., now"):
        assert re.search(words, str(caught.value))
    with pytest.raises(ValueError, match="model sha256"):
        prune(folder, model=small_model(1))
    with pytest.raises(ValueError, match="holds a run already"):
        prune(folder, resume=False)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {p: b for p, b in after.items() if p.name != "lock"} == {
        p: b for p, b in before.items() if p.name != "lock"
    }


def test_folders_that_are_not_for_it_are_refused(tmp_path, folder):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.tex, and no run"):
        prune(tmp_path / "other")
    with pytest.raises(OSError):
        prune(tmp_path / "other" / "thesis.tex")
    with exclusive(folder), pytest.raises(OSError, match="another run .* is at work"):
        prune(folder)
    (folder / "manifest.json").write_text('{"schema": ')
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        prune(folder)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(folder, whole):
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    data = [path for path in newest.rglob("d/*") if path.is_file()]
    for path in data:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 255
        path.write_bytes(raw)
    report = prune(folder)
    said = [warning for warning in report.warnings if "is damaged" in warning]
    assert len(said) == 1 and f"Checkpoint {newest.name} is damaged" in said[0]
    assert trees_equal(report.masks, whole.masks) and report.history == whole.history
    assert [line["generation"] for line in lines(folder)] == list(range(GENERATIONS + 1))


def test_a_search_that_begins_again_leaves_no_later_checkpoint(folder, whole, monkeypatch):
    for path in (folder / "prepared").rglob("d/*"):
        path.write_bytes(b"")
    saved = Steps.save

    def save(self, number, *content):
        saved(self, number, *content)
        if "start" in content[1]:
            raise StopError

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(Steps, "save", save)
        prune(folder)
    assert [int(path.name) for path in (folder / "checkpoints").iterdir()] == [0]
    report = prune(folder)
    assert trees_equal(report.masks, whole.masks) and report.history == whole.history


def test_lines_that_no_checkpoint_knows_are_dropped(folder, whole):
    path = folder / "history.jsonl"
    with path.open("a") as file:
        file.write(path.read_text().splitlines()[-1] + "\n" + '{"generation": 9, "be')
    assert_same(prune(folder), whole, folder)


def test_a_full_disk_costs_checkpoints_and_no_result(tmp_path, whole, monkeypatch):
    saved = Steps.save

    def save(self, number, *content):
        if 2 < number < 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved(self, number, *content)

    monkeypatch.setattr(Steps, "save", save)
    report = prune(tmp_path / "run")
    assert trees_equal(report.masks, whole.masks) and report.history == whole.history
    said = [warning for warning in report.warnings if "No space left" in warning]
    assert len(said) == 1 and "the run went on" in said[0]
    assert_same(prune(tmp_path / "run"), whole, tmp_path / "run")


@pytest.mark.parametrize("every", ["often", "0", 0, -1, "1.5", "5 days", ""])
def test_intervals_that_are_none_are_refused(tmp_path, every):
    with pytest.raises(ValueError, match="expected generations, or a time"):
        prune(tmp_path / "run", every=every)
    assert not (tmp_path / "run").exists()


def test_steps_hold_whatever_a_state_has(tmp_path):
    arrays = {
        "bits": np.arange(7, dtype=np.uint32),
        "none": np.zeros((0, 3), bool),
        "one": np.float32(2.5),
        "device": jax.numpy.ones(3, jax.numpy.bfloat16),
    }
    steps = Steps(tmp_path / "steps", keep=2)
    for number in (1, 2, 5):
        steps.save(number, arrays, {"number": number, "worst": float("inf")})
    steps.wait()
    found = list(steps.newest())
    assert [step.number for step in found] == [5, 2]
    for name, array in arrays.items():
        again = found[0].arrays[name]
        assert again.dtype == np.asarray(array).dtype and again.shape == np.shape(array)
        assert np.array_equal(again, array)
    assert found[0].document == {"number": 5, "worst": float("inf")}
    steps.close()
