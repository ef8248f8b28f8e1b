"""Laws of many devices: the same bits from any number of them, and nothing large travels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import trees_equal

import jgaprune as jp
from jgaprune.bench.collectives import Collective

SCRIPT = Path(__file__).with_name("device_runs.py")
POPULATION, NUM_INPUTS, HIDDEN, WORDS = 6, 16, 10, 3
MASKS = -(-POPULATION // 8) * 8
"""Candidates of a generation on 8 devices, with those that are evaluated twice."""
QUICK = [
    "genetic/none",
    "genetic/8",
    "genetic/split",
    "genetic/none/8",
    "islands/none",
    "islands/8",
    "islands/none/8",
]
NAMES = ("genetic", "racing", "failing", "level_switch", "cma_es", "paper", "islands")
ALL = [f"{name}/{mesh}" for name in (*NAMES, "island_parents") for mesh in ("none", "1", "2")]
ALL += [name.replace("/2", f"/{count}") for name in ALL if "/2" in name for count in (4, 8)]


class Found:
    """What a process with 8 devices found, by run."""

    def __init__(self, names: list[str], folder: Path):
        out = folder / "found.npz"
        usual = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as in conftest.py
        programs = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or ""}
        environment = usual | programs | os.environ
        subprocess.run([sys.executable, SCRIPT, out, *names], check=True, env=environment)
        self.arrays = dict(np.load(out))

    def __getitem__(self, name: str) -> list[np.ndarray]:
        keys = [key for key in self.arrays if key.startswith(f"{name}:")]
        return [self.arrays[key] for key in keys if key.rpartition(":")[2].isdecimal()]

    def sent(self, name: str) -> list[Collective]:
        return [Collective(*one) for one in json.loads(str(self.arrays[f"{name}:sent"]))]

    @property
    def refusals(self) -> dict[str, str]:
        return json.loads(str(self.arrays["refusals"]))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Found:
    return Found(QUICK, tmp_path_factory.mktemp("devices"))


def assert_same(found: Found, name: str, other: str) -> None:
    assert found[name], name
    assert trees_equal(found[name], found[other]), f"{name} is not {other}"


@pytest.mark.parametrize("name", [name for name in QUICK if "split" not in name])
def test_devices_change_no_bit(found, name):
    assert_same(found, name, name.partition("/")[0] + "/none")


@pytest.mark.slow
def test_devices_change_no_bit_of_any_evolver(tmp_path):
    found = Found(ALL, tmp_path)
    for name in ALL:
        assert_same(found, name, name.partition("/")[0] + "/none")
    failures = found["failing/none"][-9:]
    assert any(int(leaf) > 0 for leaf in failures if leaf.dtype == np.int32 and not leaf.ndim)
    assert sent_bytes(found.sent("racing/8")) <= 2 * 4 * MASKS


def sent_bytes(sent: list[Collective]) -> int:
    return sum(one.num_bytes for one in sent)


def test_only_fitness_travels(found):
    sent = found.sent("genetic/8")
    assert {one.kind for one in sent} == {"all-gather"}
    assert sent_bytes(sent) == 4 * MASKS


def test_only_migrants_travel_between_islands(found):
    sent = found.sent("islands/8")
    of_a_member = {"genome": 4 * WORDS, "fitness": 4, "print": 4, "strength": 4}
    migrants = [one for one in sent if one.kind == "collective-permute"]
    assert sent_bytes(migrants) == sum(of_a_member.values())
    best = [one for one in sent if one.kind == "all-reduce"]
    assert sent_bytes(best) == 4 * WORDS


def test_split_inputs_change_fitness_by_rounding(found):
    whole, split = found["genetic/none"], found["genetic/split"]
    first = slice(-8, -4)  # the record of generation 0
    for one, other in zip(whole[first], split[first], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5)
    sent = [one.num_bytes for one in found.sent("genetic/split")]
    assert 4 * HIDDEN in sent
    assert max(sent) < 4 * NUM_INPUTS * 3  # neither inputs nor logits


REFUSALS = {
    "axes": "axes batch is of no use: its axes are pop and, if wanted, inputs",
    "explicit": "must be of type Auto.*AxisType.Auto",
    "no_mesh": "must be a jax.sharding.Mesh, got str",
    "islands": "4 islands cannot be shared out evenly over pop=8",
    "staged": "islands need an evolver whose population stays",
    "no_members": "this evolver keeps none.*genetic or level_switch",
    "migrants": "2 migrants are more than the 1 members",
    "never": "migrate_every must be at least 1, got 0",
    "odd_inputs": "10 inputs cannot be split evenly over inputs=4",
    "own_inputs": "place them yourself.*NamedSharding",
    "devices": "pop=9 needs 9 devices, there are 8 .cpu.",
}


@pytest.mark.parametrize(("name", "message"), REFUSALS.items(), ids=REFUSALS.keys())
def test_what_cannot_work_is_explained(found, name, message):
    assert set(found.refusals) == set(REFUSALS)
    with pytest.raises(ValueError, match=message):
        raise ValueError(found.refusals[name])


@pytest.mark.parametrize("text", ["", "pop", "pop=0", "pop=-1", "inputs=1", "pop=1,pop=1", "pop=x"])
def test_texts_that_are_no_mesh_are_explained(text):
    with pytest.raises(ValueError, match="pop=4, or pop=4,inputs=2"):
        jp.make_mesh(text)
