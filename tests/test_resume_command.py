"""`prune --checkpoint-every` and `resume`: signals, budgets, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import INPUTS, MODEL
from test_telemetry import Service

import jgaprune as jp
from jgaprune import telemetry
from jgaprune.cli import logs, main
from jgaprune.converters.formats import write_safetensors
from jgaprune.demo import WEIGHTS as DIGITS

SEARCH = ("--sparsity", "0.5", "--space", "offsets", "--repair", "none", "--population", "4")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working folder: weights of an MLP, and inputs for it."""
    draw = np.random.default_rng(0)
    shapes = {"fc1.weight": (12, 16), "fc1.bias": (12,), "fc2.weight": (5, 12), "fc2.bias": (5,)}
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    write_safetensors(tmp_path / "mlp.safetensors", tensors)
    np.save(tmp_path / "inputs.npy", draw.normal(size=(9, 16)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return ("--weights", "mlp.safetensors", "--inputs", "inputs.npy", "--arch", "mlp")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_a_run_is_kept_beside_its_result_and_goes_on_from_anywhere(tmp_path, files, monkeypatch):
    asked = ["prune", *SEARCH, *files, "--generations", "2", "--checkpoint-every", "1"]
    kept = run(*asked, "--out", "x", "--log-json")
    assert kept.exit_code == 0, kept.output
    told = [json.loads(line) for line in kept.stderr.splitlines() if line.startswith("{")]
    assert [one["generation"] for one in told if one["phase"] == "search"] == [1, 2]
    assert Path("x.checkpoints", "history.jsonl").read_text().count("\n") == 3
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    more = run("resume", "../x", "--generations", "3", "--out", "y", "--quiet")
    assert more.exit_code == 0, more.output
    assert json.loads(Path("y", "report.json").read_text())["generations"] == 5
    again = run("resume", "../x.checkpoints", "--generations", "1")
    assert again.exit_code == 2 and "--overwrite" in again.stderr
    monkeypatch.chdir(tmp_path)
    once_more = run(*asked, "--out", "z", "--checkpoint-dir", "x.checkpoints")
    assert once_more.exit_code == 2 and "jgaprune resume" in once_more.stderr


@pytest.mark.slow
def test_what_holds_no_run_is_said(tmp_path, files):
    result = run("resume", tmp_path)
    assert result.exit_code == 2 and "holds no run" in result.stderr
    result = run("resume", tmp_path / "absent")
    assert result.exit_code == 2 and "holds no run" in result.stderr
    jp.prune(
        MODEL,
        **{"sparsity": 0.5, "inputs": INPUTS, "supplement": False, "space": "offsets"},
        **{"population": 4, "generations": 1, "checkpoint_dir": tmp_path / "run"},
    )
    result = run("resume", tmp_path / "run")
    assert result.exit_code == 2 and "begun in Python" in result.stderr
    asked = ("--out", tmp_path / "x", "--checkpoint-every", "often")
    result = run("prune", *SEARCH, *files, *asked)
    assert result.exit_code == 2 and "expected generations, or a time" in result.stderr


@pytest.mark.slow
def test_a_run_is_logged_where_it_was_or_elsewhere(tmp_path, files, monkeypatch):
    """Which is no other run."""
    services = {}

    def log(place):
        return telemetry.Log(place, services.setdefault(place, Service()))

    monkeypatch.setitem(logs._SERVICES, "tensorboard", log)
    asked = ("--checkpoint-every", "1", "--log", "tensorboard:log", "--quiet")
    kept = run("prune", *SEARCH, *files, "--generations", "2", *asked, "--out", "x")
    assert kept.exit_code == 0, kept.output
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    goes_on = ("resume", "../x", "--generations", "1", "--quiet", "--out")
    assert run(*goes_on, "y").exit_code == 0
    assert run(*goes_on, "z", "--log", "tensorboard:other").exit_code == 0
    rows = {place: [row.generation for row in one.rows] for place, one in services.items()}
    whole = {"log": [0, 1, 2], str(tmp_path / "log"): [0, 1, 2, 3], "other": [0, 1, 2, 3, 4]}
    assert rows == whole and len({run for one in services.values() for run in one.opened}) == 1


@pytest.mark.slow
def test_sigterm_stops_a_run_to_be_gone_on_with(tmp_path):
    command = [sys.executable, "-m", "jgaprune"]
    digits = ("--weights", str(DIGITS), "--num-inputs", "8")
    search = [*command, "prune", *SEARCH, *digits, "--generations", "400", "--out"]
    whole = subprocess.run([*search, tmp_path / "whole", "--quiet"], capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    kept = [*search, tmp_path / "cut", "--checkpoint-every", "1h", "--log-json"]
    with subprocess.Popen(kept, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        text = next(line for line in process.stderr if '"search"' in line)
        process.send_signal(signal.SIGTERM)
        text += process.communicate(timeout=120)[1]
    assert process.returncode == 0, text
    assert f"Go on with: jgaprune resume {tmp_path / 'cut.checkpoints'}" in text
    assert not (tmp_path / "cut").exists()
    lines = (tmp_path / "cut.checkpoints" / "history.jsonl").read_text().splitlines()
    assert 1 < len(lines) < 401
    went_on = [*command, "resume", tmp_path / "cut", "--quiet"]
    assert subprocess.run(went_on, capture_output=True).returncode == 0
    masks = [dict(np.load(tmp_path / name / "masks.npz")) for name in ("whole", "cut")]
    assert masks[0].keys() == masks[1].keys()
    assert all(np.array_equal(masks[0][name], masks[1][name]) for name in masks[0])
    reports = [
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "cut")
    ]
    assert reports[0]["history"] == reports[1]["history"]
