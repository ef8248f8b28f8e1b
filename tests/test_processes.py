"""Processes that share a mesh find what one finds, bit for bit, and start and stop as one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from process_launcher import Ended, ends_of, free_port, start, write_files

from jgaprune.cli import main

SCRIPT = Path(__file__).with_name("device_runs.py")
NAMES = ("genetic/8", "islands/8")
FILES = ("--weights", "mlp.safetensors", "--inputs", "inputs.npy", "--arch", "mlp")
PRUNE = ("prune", *FILES, "--sparsity", "0.5", "--space", "offsets", "--repair", "none")
WAYS = {"masks": ("--population", "4"), "islands": ("--population", "3", "--islands", "4")}
GENERATIONS = 9

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder of all."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def alone(*arguments):
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.output


def launch(folder, count, *arguments):
    """Ends of so many processes; where it is one, that is this one."""
    if count == 1:
        return alone(*arguments)
    ends = ends_of(start([folder] * count, *arguments))
    assert_only_the_first_speaks(ends)
    return ends


def terminated(folder, phase, *arguments):
    """How two processes end, of which the second has got SIGTERM when it was in a phase."""
    both = start([folder] * 2, *arguments)
    text = next((line for line in both[0].stderr if f'"{phase}"' in line), "")
    both[1].send_signal(signal.SIGTERM)
    first, second = ends_of(both)
    assert (first.code, second) == (0, Ended(0, "", "")), text + first.err
    assert first.err.endswith("jgaprune: stopped. Go on with: jgaprune resume cut.checkpoints\n")
    assert not Path("cut").exists()
    return first, second


def assert_only_the_first_speaks(ends):
    assert [one.code for one in ends] == [0] * len(ends), ends
    assert ends[1:] == [Ended(0, "", "")] * (len(ends) - 1)


def assert_same_result(folder, one, other, generations=GENERATIONS):
    masks = [dict(np.load(folder / name / "masks.npz")) for name in (one, other)]
    assert masks[0].keys() == masks[1].keys()
    assert all(np.array_equal(masks[0][name], masks[1][name]) for name in masks[0])
    reports = [json.loads((folder / name / "report.json").read_text()) for name in (one, other)]
    assert reports[0]["history"] == reports[1]["history"]
    assert reports[0]["generations"] == reports[1]["generations"] == generations


def test_searches_of_two_processes_find_what_one_finds(tmp_path):
    usual = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    usual["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir or ""
    shared = {"JGAPRUNE_COORDINATOR": f"127.0.0.1:{free_port()}", "JGAPRUNE_NUM_PROCESSES": "2"}
    ids = ({}, *({"DEVICES": "4", "JGAPRUNE_PROCESS_ID": str(i), **shared} for i in range(2)))
    names = ([name.replace("/8", "/none") for name in NAMES], NAMES, NAMES)
    outs = [tmp_path / f"{index}.npz" for index in range(3)]
    running = [
        subprocess.Popen([sys.executable, SCRIPT, out, *own], env=usual | os.environ | variables)
        for out, own, variables in zip(outs, names, ids, strict=True)
    ]
    assert [one.wait(600) for one in running] == [0, 0, 0]
    expected, *found = (dict(np.load(out)) for out in outs)
    for arrays in found:
        names = [name for name in arrays if name.rpartition(":")[2].isdecimal()]
        assert {name.partition(":")[0] for name in names} == set(NAMES)
        for name in names:
            one = expected[name.replace("/8:", "/none:")]
            assert np.array_equal(arrays[name], one, equal_nan=True), name


@pytest.mark.parametrize("count", [2, 4])
def test_the_command_finds_what_one_process_finds_and_speaks_once(folder, count):
    asked = (*PRUNE, *WAYS["masks"], "--generations", str(GENERATIONS), "--quiet", "--json")
    alone(*asked, "--out", "whole")
    ends = launch(folder, count, *asked, "--out", "shared")
    assert json.loads(ends[0].out)["settings"]["mesh"] == f"pop={count}"
    assert_same_result(folder, "whole", "shared")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_fewer_processes_and_with_more(folder, way, before, after):
    asked = (*PRUNE, *WAYS[way], "--quiet", "--out")
    alone(*asked, "whole", "--generations", str(GENERATIONS))
    begun = (*asked, "begun", "--generations", "4", "--checkpoint-every", "2")
    launch(folder, before, *begun)
    command = json.loads(Path("begun.checkpoints/manifest.json").read_text())["command"]
    assert command["arguments"] == list(begun[1:])
    launch(folder, after, *("resume", "begun", "--generations", "5", "--quiet", "--out", "other"))
    assert_same_result(folder, "whole", "other")


def test_a_signal_to_one_stops_all_and_the_run_ends_as_if_never_stopped(folder):
    asked = (*PRUNE, *WAYS["masks"], "--generations", "300", "--log-json", "--out")
    alone(*asked, "whole")
    ends = terminated(folder, "search", *asked, "cut", "--checkpoint-every", "1h")
    done = len(Path("cut.checkpoints/history.jsonl").read_text().splitlines()) - 1
    steps = [int(path.name) for path in Path("cut.checkpoints/checkpoints").iterdir()]
    assert 0 < done < 300 and max(steps) == done, ends
    alone("resume", "cut", "--quiet")
    assert_same_result(folder, "whole", "cut", 300)


def test_the_others_end_with_one_that_is_killed_and_the_run_goes_on(folder):
    asked = (*PRUNE, *WAYS["masks"], "--generations", "300", "--log-json", "--out")
    alone(*asked, "whole")
    both = start([folder] * 2, *asked, "cut", "--checkpoint-every", "20")
    lines = (line for line in both[0].stderr if '"search"' in line)
    assert any(json.loads(line)["generation"] >= 40 for line in lines)
    both[1].kill()
    killed = time.monotonic()
    first, second = ends_of(both)
    assert (first.code, second.code) == (1, -signal.SIGKILL), first.err
    assert time.monotonic() - killed < 20  # JAX alone waits longer
    assert "another process of this run has ended" in first.err and "Traceback" not in first.err
    alone("resume", "cut", "--quiet")
    assert_same_result(folder, "whole", "cut", 300)


def test_a_signal_before_the_search_stops_all(folder):
    asked = (*PRUNE, *WAYS["masks"], "--generations", "300", "--log-json", "--out", "cut")
    terminated(folder, "inputs", *asked, "--checkpoint-every", "1h")
    assert not list(Path("cut.checkpoints/checkpoints").iterdir())


def test_what_one_process_refuses_ends_all(folder):
    asked = (*PRUNE, *WAYS["masks"], "--generations", "2", "--quiet", "--out", "x")
    alone(*asked, "--checkpoint-every", "1")
    again = (*PRUNE, "--out", "y", "--checkpoint-dir", "x.checkpoints")
    ends = ends_of(start([folder] * 2, *again))
    assert [one.code for one in ends] == [2, 2]
    assert all("x.checkpoints holds a run already" in one.err for one in ends)
    other = folder / "other"
    other.mkdir()
    shutil.copy(folder / "inputs.npy", other)
    ends = ends_of(start([folder, other], *asked[:-1], "z"))
    assert [one.code for one in ends] == [2, 2]
    assert "process 1: " in ends[0].err and "mlp.safetensors does not exist" in ends[0].err
    assert "process 1: " not in ends[1].err and "does not exist" in ends[1].err
