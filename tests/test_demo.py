"""The demo: the network that comes along is good, and its pruned self beats every baseline."""

import json

import pytest
from click.testing import CliRunner
from test_report import magnitude_report

from jgaprune import demo, driver
from jgaprune.cli import main
from jgaprune.inputs.files import read_evaluation_data
from jgaprune.report import accuracy


@pytest.fixture
def instant_search(monkeypatch):
    """Replaces the search by one-shot magnitude; yields what it was called with."""
    seen = {}

    def prune(model, **arguments):
        seen.update(model=model, **arguments)
        return magnitude_report(model)

    monkeypatch.setattr(driver, "prune", prune)
    return seen


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["demo", *arguments])


def test_the_dense_network_is_accurate():
    model = demo.load_demo()
    inputs, labels = read_evaluation_data(demo.TEST_IMAGES, model.spec)
    assert len(labels) == 540
    assert accuracy(model, model.params, model.buffers, inputs, labels) >= 0.97


def test_the_search_gets_no_data(instant_search, place):
    result = run()
    assert result.exit_code == 0, result.output
    assert "inputs" not in instant_search
    assert "labels" not in instant_search
    assert len(instant_search["evaluation_data"][1]) == 540
    assert "evolved (this run)" in result.stdout


@pytest.mark.slow
def test_an_earlier_demo_is_replaced_and_nothing_else(instant_search, place):
    assert run().exit_code == 0
    assert run().exit_code == 0
    assert [path.name for path in place.iterdir()] == ["jgaprune-demo"]
    document = json.loads((place / "jgaprune-demo" / "report.json").read_text())
    assert document["settings"]["demo"] is True
    (place / "jgaprune-demo" / "report.json").write_text("{}")
    result = run()
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert run("--overwrite").exit_code == 0


def test_the_result_can_be_evaluated(instant_search, place):
    run("--out", "here", "--quiet")
    result = CliRunner().invoke(
        main, ["evaluate", "--run", "here", "--eval-data", str(demo.TEST_IMAGES), "--json"]
    )
    assert json.loads(result.stdout)["n"] == 540


@pytest.mark.slow
def test_the_demo_stands_above_every_baseline():
    report = demo.prune_demo(demo.load_demo())
    dense, pruned = report.accuracy["dense"], report.accuracy["pruned"]
    measures = [m for b in report.baselines.values() for m in (b.raw, b.repaired)]
    assert pruned > max(measure.accuracy for measure in measures)
    assert min(b.raw.accuracy for b in report.baselines.values()) < dense - 0.1
    assert report.sparsity == pytest.approx(demo.SPARSITY, abs=1e-5)
    assert report.fitness["best"] < min(b.repaired.fitness for b in report.baselines.values())
    assert not report.uses_labels
