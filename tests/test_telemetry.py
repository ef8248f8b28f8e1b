"""Logs of runs: every generation once, whatever stops the run, and no fault of theirs ends it."""

import sys

import pytest
from click.testing import CliRunner
from helpers import INPUTS, MODEL, SPARSITY, trees_equal
from test_resume import StopError

import jgaprune as jp
from jgaprune import telemetry
from jgaprune.cli import main
from jgaprune.cli.logs import Target
from jgaprune.demo import WEIGHTS as DIGITS

LABELS = [index % MODEL.spec.num_outputs for index in range(len(INPUTS))]
CALL = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "population": 4}
CALL |= {"space": "offsets,weights", "evaluations": 40, "gradient_swaps": False}


class Service:
    """Holds what was written, over several processes; raises in the methods that are named."""

    def __init__(self, *failing):
        self.failing, self.rows, self.opened, self.closed, self.ends = failing, [], [], [], []

    def _called(self, name):
        if name in self.failing:
            raise OSError(f"no {name}")

    def open(self, run):
        self.opened.append(run)
        self._called("open")
        return len(self.rows)

    def add(self, rows):
        self._called("add")
        self.rows += rows

    def end(self, settings, measures, generation):
        self.ends.append((settings, measures, generation))
        self._called("end")

    def close(self, *, over):
        self.closed.append(over)
        self._called("close")


def prune(*listeners, **changed):
    return jp.prune(MODEL, **(CALL | changed), on_record=listeners)


def stop_at(generation):
    def watch(progress):
        if progress.phase == "search" and progress.generation >= generation:
            raise StopError

    return watch


def column(service, name):
    return [row.values.get(f"search/{name}") for row in service.rows]


@pytest.fixture(scope="module")
def whole():
    return prune()


@pytest.mark.slow
def test_every_generation_is_logged_once_with_what_the_history_says(whole):
    service, evaluation = Service(), (INPUTS, LABELS)
    report = prune(telemetry.Log("x", service), evaluation_data=evaluation)
    assert [row.generation for row in service.rows] == list(range(len(whole.history.best)))
    for name in ("best", "mean_fitness", "diversity", "evaluations"):
        assert column(service, name) == getattr(whole.history, name)
    stages = {0, 1 + report.settings["stages"][0]["generations"]}
    rates = column(service, "evaluations_per_second")
    assert {index for index, rate in enumerate(rates) if rate is None} <= stages
    assert all(rate is None or rate > 0 for rate in rates) and rates[0] is None
    points = [
        (row.values["search/evaluations"], row.values["search/accuracy"])
        for row in service.rows
        if "search/accuracy" in row.values
    ]
    assert points == report.history.accuracy and points
    settings, measures, generation = service.ends[0]
    assert settings == report.to_json()["settings"] and generation == report.generations
    assert measures["final/fitness"] == report.fitness["best"]
    assert measures["final/accuracy"] == report.accuracy["pruned"]
    assert measures["final/sparsity"] == report.sparsity
    assert (len(service.ends), service.opened, service.closed) == (1, [None], [True])
    assert trees_equal(report.masks, whole.masks)


@pytest.mark.slow
def test_a_run_that_goes_on_doubles_no_generation(tmp_path, whole):
    """And whether and where it is logged makes it no other run."""
    service, late = Service(), Service()
    kept = jp.Checkpoints(tmp_path / "run", every=4, resume=True)
    with pytest.raises(StopError):
        prune(telemetry.Log("x", service), stop_at(6), checkpoint_dir=kept)
    assert service.closed == [False] and 0 < len(service.rows) < len(whole.history.best)
    logs = telemetry.Log("x", service), telemetry.Log("late", late)
    report = prune(*logs, checkpoint_dir=kept)
    assert report.history == whole.history
    for one in (service, late):
        assert [row.generation for row in one.rows] == list(range(len(whole.history.best)))
        assert column(one, "best") == whole.history.best
    assert service.opened[0] and service.opened == [service.opened[0]] * 2 and service.ends
    assert late.opened == service.opened[:1]
    other = Service()
    prune(telemetry.Log("x", other), checkpoint_dir=tmp_path / "other")
    assert other.opened[0] != service.opened[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["open", "add", "end", "close"])
def test_a_log_that_fails_is_said_once_and_ends_nothing(whole, method):
    service, said, heard = Service(method), [], []
    log = telemetry.Log("of the house", service, warn=said.append)
    report = prune(log, heard.append)
    assert len(said) == 1 and f"The log of the house can't be written (no {method})" in said[0]
    assert trees_equal(report.masks, whole.masks) and report.history == whole.history
    assert heard[-1].report is report and len(service.closed) <= 1 >= len(service.opened)
    assert method in ("end", "close") or not service.ends


@pytest.mark.slow
def test_a_log_that_failed_can_be_used_again(whole):
    service = Service("add", "close")
    log = telemetry.Log("x", service)
    with pytest.warns(UserWarning, match="can't be written") as caught:
        prune(log)
    assert len(caught) == 1
    service.failing = ()
    prune(log)
    assert column(service, "best") == whole.history.best


def test_what_another_listener_raises_ends_the_run_and_closes_the_log():
    service, heard = Service(), []
    with pytest.raises(StopError):
        prune(telemetry.Log("x", service), stop_at(1), heard.append)
    assert service.closed == [False] and service.rows and not service.ends
    assert {one.phase for one in heard} == {"inputs", "baselines", "compile"}


def test_a_run_that_is_refused_opens_no_log():
    service = Service()
    with pytest.raises(ValueError, match="sparsity"):
        prune(telemetry.Log("x", service), sparsity=2)
    assert not service.opened and not service.closed


def test_an_interrupted_search_is_logged_to_its_end():
    def interrupt(progress):
        if progress.phase == "search":
            raise KeyboardInterrupt

    service = Service()
    report = prune(telemetry.Log("x", service), interrupt)
    assert report.interrupted and column(service, "best") == report.history.best
    assert service.closed == [True] and len(service.ends) == 1


def test_numbers_that_are_none_are_left_out():
    history = jp.Report.__dataclass_fields__["history"].type
    progress = jp.Progress("search", history=history([4], [float("inf")], [float("nan")], [0.5]))
    (row,) = telemetry.rows.rows_of(progress, 0)
    assert row.values == {"search/evaluations": 4.0, "search/diversity": 0.5}


MODULES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


@pytest.mark.parametrize("service", MODULES)
def test_a_missing_extra_is_named(monkeypatch, tmp_path, service):
    for module in [name for name in sys.modules if name.split(".")[0] == MODULES[service]]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, MODULES[service], None)
    with pytest.raises(ImportError, match=rf"pip install 'jgaprune\[{service}\]'"):
        getattr(telemetry, service)("place")
    asked = ("--weights", str(DIGITS), "--sparsity", "0.9", "--out", str(tmp_path / "run"))
    result = CliRunner().invoke(main, ["prune", *asked, "--log", f"{service}:place"])
    assert result.exit_code == 2
    assert f"--log {service}:place" in result.stderr and f"jgaprune[{service}]" in result.stderr


@pytest.mark.parametrize("given", ["tensorboard", "tensorboard:", "comet:x", "wandb", "x"])
def test_targets_that_are_none_are_refused(given):
    asked = ("--weights", "w", "--sparsity", "0.9", "--out", "x", "--log", given)
    result = CliRunner().invoke(main, ["prune", *asked])
    assert result.exit_code == 2 and "expected tensorboard:DIR" in result.stderr


def test_paths_of_logs_are_those_they_were():
    def seen(service, place):
        return Target(service, place).seen_from("/begun").place

    assert seen("tensorboard", "logs") == "/begun/logs"
    assert seen("tensorboard", "/logs") == "/logs"
    assert seen("mlflow", "sqlite:///a.db") == "sqlite:////begun/a.db"
    assert seen("mlflow", "sqlite:////a.db") == "sqlite:////a.db"
    assert seen("mlflow", "http://host:5000") == "http://host:5000"
    assert seen("wandb", "team/project") == "team/project"
