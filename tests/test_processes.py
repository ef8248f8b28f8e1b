"""Two processes that share a mesh find what one finds, bit for bit."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jgaprune import agreement, distributed

SCRIPT = Path(__file__).with_name("device_runs.py")
NAMES = ("genetic/8", "islands/8")


def start(out, names, **environment):
    usual = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    programs = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or ""}
    return subprocess.Popen(
        [sys.executable, SCRIPT, out, *names], env=usual | programs | os.environ | environment
    )


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    outs = [tmp_path / f"{name}.npz" for name in ("alone", "first", "second")]
    assert start(outs[0], [name.replace("/8", "/none") for name in NAMES]).wait(600) == 0
    shared = {"JGAPRUNE_COORDINATOR": f"127.0.0.1:{free_port()}", "JGAPRUNE_NUM_PROCESSES": "2"}
    both = [
        start(out, NAMES, DEVICES="4", JGAPRUNE_PROCESS_ID=str(index), **shared)
        for index, out in enumerate(outs[1:])
    ]
    assert [one.wait(600) for one in both] == [0, 0]
    alone, *found = (dict(np.load(out)) for out in outs)
    for arrays in found:
        names = [name for name in arrays if name.rpartition(":")[2].isdecimal()]
        assert {name.partition(":")[0] for name in names} == set(NAMES)
        for name in names:
            expected = alone[name.replace("/8:", "/none:")]
            assert np.array_equal(arrays[name], expected, equal_nan=True), name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_processes": 2}, "coordinator .JGAPRUNE_COORDINATOR., process_id"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "below num_processes, got 2"),
        ({"coordinator": "a:1", "num_processes": "x", "process_id": 0}, "whole numbers"),
    ],
)
def test_half_of_the_settings_are_explained(given, message):
    with pytest.raises(ValueError, match=message):
        distributed.initialize(**given)


def test_one_process_agrees_with_itself():
    assert agreement.agreed(1 / 3) == 1 / 3
