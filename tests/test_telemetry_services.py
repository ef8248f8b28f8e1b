"""Logs at real services, read back; each is skipped where its package is not installed."""

import json
import struct

import pytest
from test_resume import StopError
from test_telemetry import prune, stop_at

import jgaprune as jp
from jgaprune import telemetry

pytestmark = pytest.mark.filterwarnings("default")  # their packages have warnings of their own


def goes_on(log, folder):
    """A run that is stopped and gone on with, by two logs of the same place."""
    kept = jp.Checkpoints(folder, every=2, resume=True)
    with pytest.raises(StopError):
        prune(log(), stop_at(6), checkpoint_dir=kept)
    return prune(log(), checkpoint_dir=kept)


def assert_logged(history, logged):
    """Every generation, and none twice."""
    for name in ("best", "mean_fitness", "diversity", "evaluations"):
        steps, values = zip(*logged[f"search/{name}"], strict=True)
        assert list(steps) == list(range(len(history.best)))
        assert values == pytest.approx(getattr(history, name), rel=1e-6)


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="reads the files back"
    )
    report = goes_on(lambda: telemetry.tensorboard(tmp_path / "log"), tmp_path / "run")
    assert len(list((tmp_path / "log").iterdir())) == 2
    found = accumulator.EventAccumulator(str(tmp_path / "log"), {"scalars": 0}).Reload()
    logged = {
        name: [(event.step, event.value) for event in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }
    assert_logged(report.history, logged)
    assert logged["final/fitness"] == [(report.generations, pytest.approx(report.fitness["best"]))]
    (settings,) = found.Tensors("settings/text_summary")
    assert b'"sparsity": 0.75' in settings.tensor_proto.string_val[0]


def test_tensorboard_on_a_full_disk(tmp_path):
    """Its own writer would wait for ever."""
    pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
    (tmp_path / "log").write_text("no folder")
    said = []
    log = telemetry.tensorboard(tmp_path / "log")
    log.warn = said.append
    assert prune(log).history.best and len(said) == 1
    log = telemetry.tensorboard(tmp_path / "full")
    log.warn = said.append

    def fill(progress):
        if progress.phase == "baselines":
            file = log.writer._file._py_recordio_writer
            file._writer.close()
            file._writer = open("/dev/full", "wb")  # noqa: SIM115

    assert prune(log, fill).history.best
    assert len(said) == 2 and "No space left" in said[1]


def test_mlflow(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    pytest.importorskip("sqlalchemy", reason="needs the extra mlflow")
    uri = f"sqlite:///{tmp_path}/log.db"
    report = goes_on(lambda: telemetry.mlflow(uri), tmp_path / "run")
    client = mlflow.MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("jgaprune").experiment_id
    (run,) = client.search_runs([place])
    assert run.info.status == "FINISHED" and run.data.params["sparsity"] == "0.75"
    logged = {
        name: sorted(
            (one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }
    assert_logged(report.history, logged)
    assert logged["final/fitness"] == [(report.generations, pytest.approx(report.fitness["best"]))]
    more = jp.Checkpoints(tmp_path / "run", every=2, resume=True, further=True)
    goes = {"evaluations": None, "generations": 2}
    report = prune(telemetry.mlflow(uri), checkpoint_dir=more, **goes)
    (run,) = client.search_runs([place])
    history = client.get_metric_history(run.info.run_id, "search/best")
    assert sorted(one.step for one in history) == list(range(len(report.history.best)))


def test_wandb_offline(tmp_path):
    wandb = pytest.importorskip("wandb", reason="needs the extra wandb")
    log = lambda: telemetry.wandb("pruning", mode="offline", folder=tmp_path / "log")  # noqa: E731
    report = goes_on(log, tmp_path / "run")
    assert wandb.run is None
    parts = sorted((tmp_path / "log" / "wandb").glob("offline-run-*"))
    names = {part.name.split("-")[-1] for part in parts}
    assert len(parts) == 2 and len(names) == 1
    logged, final = _records(next(parts[-1].glob("*.wandb")))
    assert_logged(report.history, logged)
    assert final["final/fitness"] == pytest.approx(report.fitness["best"])


def _records(path):
    """Rows of the history by name, and the summary, in a file of an offline run."""
    from wandb.proto import wandb_internal_pb2

    logged, final = {}, {}
    for data in _parts(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            step = record.history.step.num
            logged.setdefault(name, []).append((step, json.loads(item.value_json)))
        for item in record.summary.update:
            final[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return logged, final


def _parts(raw, block=32768, header=7):
    """Records as LevelDB's log has them: in blocks, each piece after checksum, size and kind."""
    place, found = header, b""
    while place + header <= len(raw):
        if block - place % block < header:
            place += block - place % block
            continue
        _, size, kind = struct.unpack_from("<IHB", raw, place)
        found += raw[place + header :][:size]
        place += header + size
        if kind in (1, 4):  # whole, or the last piece
            yield found
            found = b""
