"""`prune` on a mesh and with islands: one budget, one result, and every fault named."""

import importlib
import json

import pytest
from click.testing import CliRunner
from helpers import INPUTS, MODEL, SPARSITY, trees_equal

import jgaprune as jp
from jgaprune.cli import main
from jgaprune.driver.devices import Devices

CALL = {
    "sparsity": SPARSITY,
    "inputs": INPUTS,
    "supplement": False,
    "population": 3,
    "gradient_swaps": False,
    "space": "offsets,weights",
    "evaluations": 40,
    "islands": 2,
    "migrate_every": 100,
}


@pytest.fixture(scope="module")
def report():
    return jp.prune(MODEL, **CALL)


@pytest.mark.slow
def test_islands_share_one_budget(report):
    assert report.evaluations == 36 == report.history.evaluations[-1]
    assert report.history.evaluations == list(range(6, 37, 6))
    best = report.history.best
    assert best == sorted(best, reverse=True)
    first, second = report.settings["stages"]
    assert first["evaluations"] == second["evaluations"] == 18
    assert second["handed_over"] > 3  # of both islands
    assert not any("no genome" in warning for warning in report.warnings)
    assert report.settings["islands"] == 2 and report.settings["migrants"] == 1
    assert report.settings["mesh"] is None and report.settings["initial_population"] == 3
    json.dumps(report.to_json())


@pytest.mark.slow
def test_a_mesh_changes_nothing_but_the_settings(report):
    meshed = jp.prune(MODEL, **CALL, mesh="pop=1")
    assert meshed.history == report.history
    assert trees_equal(meshed.masks, report.masks)
    assert meshed.settings == report.settings | {"mesh": "pop=1"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mesh": "rows=2"}, "its axes are pop"),
        ({"mesh": "pop=4096"}, "needs 4096 devices"),
        ({"mesh": 8}, "must be a jax.sharding.Mesh, got int"),
        ({"islands": 0, "migrants": 0}, "islands must be at least 1.*migrants must be at least 1"),
        ({"islands": 2.0}, "islands must be a whole number, got 2.0"),
        ({"evolver": "random_search"}, "random_search keeps no members"),
        ({"evolver": "evosax:CMA_ES", "space": "offsets"}, "evosax:CMA_ES keeps no members"),
        ({"evolver": "paper4", "space": "scores"}, "paper4 keeps no members"),
        ({"evaluations": 11}, "of 3 candidates on each of 2 islands in each of 2 stages"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(changed, message, monkeypatch):
    driver = importlib.import_module("jgaprune.driver.run")
    monkeypatch.setattr(driver, "make_ground", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(ValueError, match=message):
        jp.prune(MODEL, **{**CALL, **changed})


@pytest.mark.slow
def test_a_small_budget_makes_the_default_population_of_an_island_smaller():
    settings = jp.prune(
        MODEL, **{**CALL, "population": None, "space": "offsets", "islands": 4, "evaluations": 60}
    ).settings
    assert settings["initial_population"] * 4 <= 60


def test_the_command_passes_them_on(monkeypatch):
    asked = {}

    def prune(model, **settings):
        asked.update(settings)
        raise ValueError("enough")

    command = importlib.import_module("jgaprune.cli.search")
    monkeypatch.setattr(command.driver, "prune", prune)
    monkeypatch.setattr(command, "load_model", lambda *_: MODEL)
    options = ("--mesh", "pop=4,inputs=2", "--islands", "8", "--migrate-every", "5")
    arguments = ("prune", "--weights", "w", "--sparsity", "0.5", "--out", "missing", *options)
    result = CliRunner().invoke(main, [*arguments, "--migrants", "2"])
    assert "enough" in result.stderr
    passed = Devices(**{name: asked[name] for name in vars(Devices())})
    assert passed == Devices("pop=4,inputs=2", 8, 5, 2)
