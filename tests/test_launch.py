"""How processes are connected, what they tell each other, and signals that reach one of them."""

import json
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from process_launcher import write_files

from jgaprune import agreement, distributed
from jgaprune.cli import interrupts, main
from jgaprune.driver import Progress
from jgaprune.driver.progress import audience
from jgaprune.engine import mesh_fault

LAUNCH = ("--coordinator", "10.0.0.1:1234", "--num-processes=2", "--process-id", "1")
PRUNE = ("prune", "--weights", "mlp.safetensors", "--inputs", "inputs.npy", "--arch", "mlp")
SEARCH = ("--sparsity", "0.5", "--space", "offsets", "--repair", "none", "--population", "4")


@pytest.fixture
def several(monkeypatch):
    """Says that there are two processes, of which this is the first."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)


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


@pytest.mark.slow
@pytest.mark.parametrize("asked", [LAUNCH, ("--distributed",), ()])
def test_how_it_was_launched_is_not_kept(tmp_path, monkeypatch, asked):
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    connected = []
    monkeypatch.setattr(distributed, "initialize", lambda **given: connected.append(given))
    rest = (*SEARCH, "--generations", "1", "--checkpoint-every", "1", "--quiet", "--out", "x")
    done = CliRunner().invoke(main, [*PRUNE, *asked, *rest])
    assert done.exit_code == 0, done.output
    command = json.loads(Path("x.checkpoints", "manifest.json").read_text())["command"]
    assert command["arguments"] == [*PRUNE[1:], *rest]
    done = CliRunner().invoke(main, ["resume", "x", *asked, "--generations", "1", "--overwrite"])
    assert done.exit_code == 0, done.output
    none = {"coordinator": None, "num_processes": None, "process_id": None}
    told = {"coordinator": "10.0.0.1:1234", "num_processes": 2, "process_id": 1}
    assert connected == ([told if asked == LAUNCH else none] * 2 if asked else [])


def test_variables_announce_a_process(monkeypatch):
    assert not distributed.is_announced()
    monkeypatch.setenv("JGAPRUNE_PROCESS_ID", "0")
    assert distributed.is_announced()


def test_a_missing_cluster_is_explained(monkeypatch):
    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(type(jax.config), "update", lambda *_: None)
    with pytest.raises(ValueError, match=r"no cluster .*should be defined\).*Elsewhere give"):
        distributed.initialize()


def test_one_process_agrees_with_itself():
    assert agreement.agreed(1 / 3) == 1 / 3
    assert agreement.largest(3) == 3
    assert agreement.shared(b"any bytes\0") == b"any bytes\0"
    assert agreement.together(lambda: "done") == agreement.on_first(lambda: "done") == "done"
    with pytest.raises(KeyError):
        agreement.together(lambda: {}["absent"])


@pytest.mark.parametrize("kind", [ValueError, OSError, RuntimeError])
def test_a_fault_of_one_process_is_a_fault_of_all(monkeypatch, several, kind):
    other = json.dumps(agreement._described(kind("no such file")))
    monkeypatch.setattr(agreement, "_everyones", lambda text: [text, other])
    with pytest.raises(kind, match="^process 1: no such file$"):
        agreement.together(lambda: "fine here")
    with pytest.raises(KeyError):  # its own comes first
        agreement.together(lambda: {}["absent"])
    monkeypatch.setattr(agreement, "_everyones", lambda text: [other, text])
    monkeypatch.setattr(agreement, "is_first", lambda: False)
    with pytest.raises(kind, match="^no such file$"):
        agreement.on_first(lambda: pytest.fail("is done on the first alone"))


def test_what_a_listener_of_one_process_raises_is_raised_on_all(monkeypatch, several):
    for kind in (RuntimeError, KeyboardInterrupt):
        other = json.dumps(agreement._described(kind("its own trouble")))
        monkeypatch.setattr(agreement, "_everyones", lambda text, other=other: [text, other])
        with audience(None) as tell, pytest.raises(kind, match="^process 1: its own trouble$"):
            tell(Progress("inputs"))


LOST = jax.errors.JaxRuntimeError("INTERNAL: Gloo AllGather failed: Connection reset by peer")


@pytest.mark.parametrize(("error", "is_said"), [(LOST, True), (KeyError("own"), False)])
def test_an_error_nobody_catches_is_told_and_ends_the_process(
    monkeypatch, several, capsys, error, is_said
):
    told, codes = [], []
    monkeypatch.setattr(distributed, "leave", codes.append)
    distributed._tell_and_leave(lambda *args: told.append(args), type(error), error, None)
    assert told == [(type(error), error, None)] and codes == [1]
    assert ("another process of this run has ended" in capsys.readouterr().err) == is_said


def test_an_error_of_one_process_is_no_lost_process():
    assert not distributed.has_lost_others(LOST)


@pytest.mark.parametrize("size", [0, 1, 4, 9, 64])
def test_bytes_of_any_length_are_shared(monkeypatch, several, size):
    monkeypatch.setattr(agreement, "_MOST_WORDS", 3)
    monkeypatch.setattr(agreement.multihost_utils, "broadcast_one_to_all", np.copy)
    data = bytes(range(1, size + 1))
    assert agreement.shared(data) == data


def test_a_mesh_reaches_every_process(several):
    mesh = jax.make_mesh((1,), ("pop",), (jax.sharding.AxisType.Auto,))
    assert "has no device of process 1" in mesh_fault(mesh)


def test_a_signal_is_passed_on_between_generations(monkeypatch, several):
    told = []
    monkeypatch.setattr(interrupts, "largest", lambda value: told.append(value) or value)
    monkeypatch.setattr(interrupts, "together", lambda step: step())
    own = interrupts.Interrupts()
    own.kept = "Go on with: jgaprune resume x"
    record = own.between_generations(None)
    record(Progress("inputs"))
    own.answer(signal.SIGTERM)  # does not end the process, though nothing was found
    with pytest.raises(interrupts.Preempted):
        record(Progress("baselines"))
    record(Progress("search"))
    own.answer(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        record(Progress("search"))
    assert told == [0, 1, 0, 2]
    monkeypatch.setattr(interrupts, "largest", lambda value: 1)  # another process has heard of one
    with pytest.raises(interrupts.Preempted):
        record(Progress("search"))
