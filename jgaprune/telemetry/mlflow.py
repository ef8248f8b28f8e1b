"""A log at an MLflow tracking server, or in a database of MLflow's."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jgaprune.telemetry.log import Log
from jgaprune.telemetry.writer import Row, library

_TAG = "jgaprune.run"
_METRICS, _PARAMETERS = 1000, 100
"""As many as the service takes at a time."""


def mlflow(uri: str, *, experiment: str = "jgaprune") -> Log:
    """A log in an experiment; needs the extra "mlflow".

    A run that is kept on the disk is found by a tag when it goes on, and logged on from its last
    generation there. Settings are parameters, which MLflow never changes: they stay those of the
    first end of a run. A server that does not answer holds the run up once, for as long as MLflow
    tries: minutes, or what `MLFLOW_HTTP_REQUEST_MAX_RETRIES` says.

    Args:
      uri: such as `http://localhost:5000` or `sqlite:///mlflow.db`.
      experiment: its name; is made where it is missing.

    Raises:
      ImportError: mlflow is not installed.
    """
    return Log(f"at {uri}", _MLflow(uri, experiment))


class _MLflow:
    def __init__(self, uri: str, experiment: str):
        self._mlflow, self._entities = (
            library("mlflow", "mlflow"),
            library("mlflow.entities", "mlflow"),
        )
        self._uri, self._experiment = uri, experiment
        self._client: Any = None
        self._id: str | None = None

    def open(self, run: str | None) -> int:
        self._id = None
        self._client = self._mlflow.MlflowClient(tracking_uri=self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        place = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self._id = self._found(place, run) if run else None
        if self._id is None:
            self._id = self._client.create_run(place, tags={_TAG: run} if run else {}).info.run_id
            return 0
        self._client.update_run(self._id, status="RUNNING")
        logged = self._client.get_metric_history(self._id, "search/evaluations")
        return 1 + max((one.step for one in logged), default=-1)

    def add(self, rows: Sequence[Row]) -> None:
        self._log((one.generation, item) for one in rows for item in one.values.items())

    def end(
        self, settings: Mapping[str, object], measures: Mapping[str, float], generation: int
    ) -> None:
        self._log((generation, item) for item in measures.items())
        known = self._client.get_run(self._id).data.params
        new = [
            self._entities.Param(name, value)
            for name, value in _flat(settings)
            if name not in known
        ]
        for first in range(0, len(new), _PARAMETERS):
            self._client.log_batch(self._id, params=new[first : first + _PARAMETERS])

    def close(self, *, over: bool) -> None:
        if self._id is not None:
            self._client.set_terminated(self._id, "FINISHED" if over else "KILLED")

    def _found(self, place: str, run: str) -> str | None:
        runs = self._client.search_runs([place], f"tags.`{_TAG}` = '{run}'", max_results=1)
        return runs[0].info.run_id if runs else None

    def _log(self, items: Iterator[tuple[int, tuple[str, float]]]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(name, value, now, generation)
            for generation, (name, value) in items
        ]
        for first in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._id, metrics=metrics[first : first + _METRICS])


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names joined by dots, and text.

    >>> list(_flat({"a": {"b": 1}, "c": [None, "d"]}))
    [('a.b', '1'), ('c', '[null, "d"]')]
    """
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)
