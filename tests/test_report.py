"""The report: its numbers, its text, and a folder that is written whole or not at all."""

import errno
import json
import math
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy

from jgaprune import converters
from jgaprune.checkpoint import save_tree
from jgaprune.converters.formats import FormatError
from jgaprune.demo import load_demo
from jgaprune.masks import apply_masks, join, keep_top, split
from jgaprune.model import Model
from jgaprune.report import (
    Baseline,
    History,
    Measure,
    Report,
    SaveError,
    accuracy,
    check_out,
    choice,
    comparison,
    load_run,
)
from jgaprune.report.folder import write_folder

KEPT = 10_000
CONTENT = {"report.json", "report.txt", "plots", "masks.npz", "params", "pruned.safetensors"}
PLOTS = {"fitness_and_accuracy.png", "sparsity_per_layer.png", "baselines.png"}


@pytest.fixture(scope="module")
def model():
    return load_demo()


@pytest.fixture(scope="module")
def report(model):
    return magnitude_report(model)


@pytest.fixture(scope="module")
def saved(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("runs") / "run")


def magnitude_report(model):
    """A report with figures of its own making around one-shot magnitude masks."""
    flat = join(model.params, model.layout)
    masks = split(keep_top(jnp.abs(flat), KEPT), model.layout)
    one = Measure(1.25, 0.0963)
    return Report(
        model=model,
        params=apply_masks(model.params, masks),
        buffers={name: leaf + 0.125 for name, leaf in model.buffers.items()},
        masks=masks,
        target_sparsity=0.9,
        objective="logit_mse",
        fitness={"start": 0.5, "best": 0.25},
        baselines={"magnitude": Baseline(one, Measure(0.5, 0.5)), "lamp": Baseline(one, one)},
        accuracy={"dense": 0.996, "pruned": 0.75},
        history=History([8, 16], [0.5, 0.25], [0.9, 0.8], [0.1, 0.05], [(8, 0.5), (16, 0.75)]),
        evaluations=16,
        generations=1,
        seconds={"inputs": 1.0, "compile": 2.0, "search": 3.0, "total": 7.0},
        settings={"space": "offsets", "seed": 0, "repair": True},
    )


def contents(folder):
    """All that is below a folder, files with their bytes."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


def test_the_document_has_the_promised_keys(report):
    document = report.to_json()
    assert document["schema_version"] == 1
    assert document["model"]["name"] == "digits_cnn"
    assert set(document["model"]["source"]) == {"path", "format", "sha256"}
    assert document["model"]["num_weights"] == {"prunable": 102_304, "total": 102_826}
    assert document["fitness"] == {"objective": "logit_mse", "start": 0.5, "best": 0.25}
    assert document["evaluations"] == 16
    assert document["generations"] == 1
    assert document["accuracy"] == {"dense": 0.996, "pruned": 0.75}
    assert document["baselines"]["magnitude"] == {
        "raw": {"fitness": 1.25, "accuracy": 0.0963},
        "repaired": {"fitness": 0.5, "accuracy": 0.5},
    }
    assert document["history"]["accuracy"] == [[8, 0.5], [16, 0.75]]
    assert document["seconds"]["compile"] == 2.0
    assert set(document["versions"]) == {
        *("jgaprune", "jax", "jaxlib", "flax", "evosax", "orbax", "numpy", "python")
    }
    assert set(document["device"]) == {"platform", "kind", "count", "processor", "cores"}
    assert document["settings"]["seed"] == 0
    assert document["interrupted"] is False
    assert document["warnings"] == []


def test_sparsity_is_counted_per_source_tensor(report):
    sparsity = report.to_json()["sparsity"]
    assert list(sparsity["layers"]) == [
        *(f"conv{i}.weight" for i in range(1, 6)),
        "linear.weight",
    ]
    assert sum(layer["kept"] for layer in sparsity["layers"].values()) == KEPT
    assert sum(layer["size"] for layer in sparsity["layers"].values()) == 102_304
    assert sparsity["target"] == 0.9
    assert sparsity["achieved"] == pytest.approx(1 - KEPT / 102_304)
    first = sparsity["layers"]["conv1.weight"]
    assert first["sparsity"] == pytest.approx(1 - first["kept"] / 288)


def test_what_is_not_finite_becomes_null(report):
    broken = replace(
        report,
        fitness={"start": math.inf, "best": np.float32("nan")},
        history=History([8], [math.nan], [-math.inf], [np.float32(0.5)]),
        settings={"strength": jnp.float32(jnp.inf), "widths": (1, np.int64(2))},
    )
    document = broken.to_json()
    json.dumps(document, allow_nan=False)
    assert document["fitness"] == {"objective": "logit_mse", "start": None, "best": None}
    assert document["history"]["best"] == [None]
    assert document["history"]["diversity"] == [0.5]
    assert document["settings"] == {"strength": None, "widths": [1, 2]}


@pytest.mark.parametrize("objective", ["accuracy", "cross_entropy"])
def test_a_labelled_search_is_marked(report, objective):
    assert report.to_json()["note"] == "The search used no labels."
    labelled = replace(report, objective=objective)
    assert "paper's setting" in labelled.to_json()["note"]
    assert "paper's setting" in labelled.summary()


def test_the_summary_tells_what_matters(report):
    warned = replace(report, warnings=("Inputs are noise.",), interrupted=True)
    summary = warned.summary()
    for part in (
        "digits_cnn pruned to 90.23 % sparsity",
        "WARNING: Inputs are noise.",
        report.model.spec.source.sha256,
        "10,000 of the prunable weights",
        "16 (interrupted)",
        "conv3.weight",
    ):
        assert part in summary


def test_the_comparison_lines_up(report):
    assert comparison(report).splitlines() == [
        "method              fitness  repaired  accuracy  repaired",
        "dense                     -         -   99.60 %         -",
        "magnitude             1.250    0.5000    9.63 %   50.00 %",
        "lamp                  1.250     1.250    9.63 %    9.63 %",
        "evolved (this run)        -    0.2500         -   75.00 %",
    ]
    blind = replace(report, accuracy=None)
    assert comparison(blind).splitlines()[-1] == "evolved (this run)        -    0.2500"


def test_the_evolved_masks_have_their_own_accuracy_and_the_result_is_named(report):
    candidates = {"evolved": Measure(0.2, 0.7), "lamp": Measure(0.1, 0.72)}
    chosen = replace(report, candidates=candidates, winner="lamp")
    assert comparison(chosen).splitlines()[-1].endswith("70.00 %")
    assert choice(chosen).splitlines() == [
        "result         fitness on inputs held out  accuracy",
        "evolved                            0.2000   70.00 %",
        "lamp <- saved                      0.1000   72.00 %",
    ]
    assert "lamp <- saved" in chosen.summary()
    told = "Saved: lamp; accuracy 75.00 % (dense 99.60 %)"
    assert told in chosen.summary() and "no better than this seed" in chosen.summary()
    assert "no better than this seed" not in report.summary()
    assert choice(replace(report, candidates={"evolved": Measure(0.2, 0.7)})) == ""


@pytest.mark.parametrize("name", [None, False])
def test_without_repair_nothing_is_called_repaired(tmp_path, report, name):
    raw = replace(report, settings={"repair": name})
    assert comparison(raw).splitlines() == [
        "method              fitness  accuracy",
        "dense                     -   99.60 %",
        "magnitude             1.250    9.63 %",
        "lamp                  1.250    9.63 %",
        "evolved (this run)   0.2500   75.00 %",
    ]
    raw.save(tmp_path / "run")


def test_a_folder_holds_the_whole_run(report, saved):
    with_torch = {"pruned.pth"} if converters.formats.torch_available() else set()
    assert {path.name for path in saved.iterdir()} == CONTENT | with_torch
    assert {path.name for path in (saved / "plots").iterdir()} == PLOTS
    assert json.loads((saved / "report.json").read_text()) == report.to_json()
    assert (saved / "report.txt").read_text() == report.summary()
    for plot in (saved / "plots").iterdir():
        assert plot.read_bytes().startswith(b"\x89PNG")


def test_saved_weights_are_the_masked_ones_in_the_sources_form(report, saved):
    dense = converters.formats.read(report.model.spec.source.path).tensors
    pruned = safetensors.numpy.load_file(saved / "pruned.safetensors")
    masks = converters.unpack_masks(dict(np.load(saved / "masks.npz")))
    assert {name: (a.shape, a.dtype) for name, a in pruned.items()} == {
        name: (a.shape, a.dtype) for name, a in dense.items()
    }
    assert sum(mask.sum() for mask in masks.values()) == KEPT
    for name, mask in masks.items():
        np.testing.assert_array_equal(pruned[name], np.where(mask, dense[name], 0))
    np.testing.assert_array_equal(pruned["bn1.running_var"], dense["bn1.running_var"] + 0.125)


def test_saved_flax_parameters_come_back(report, saved):
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(saved / "params")
    for kind, leaves in (("params", report.params), ("buffers", report.buffers)):
        assert set(tree[kind]) == set(leaves)
        for name, leaf in leaves.items():
            np.testing.assert_array_equal(tree[kind][name], leaf)


def test_a_model_without_a_file_keeps_its_own_names(tmp_path, report):
    model = Model.from_fn(_linear, {"w": jnp.eye(3)}, (3,), name="linear")
    own = replace(report, model=model, params=model.params, buffers={}, masks={"w": jnp.eye(3) > 0})
    place = own.save(tmp_path / "run")
    assert set(safetensors.numpy.load_file(place / "pruned.safetensors")) == {"w"}
    assert own.to_json()["model"]["source"] is None
    with pytest.raises(ValueError, match="made from a Python object"):
        load_run(place)


def test_a_run_survives_the_loss_of_its_source(tmp_path, report):
    source = replace(report.model.spec.source, path=str(tmp_path / "moved.pth"))
    spec = replace(report.model.spec, source=source)
    place = replace(report, model=report.model._replace(spec=spec)).save(tmp_path / "run")
    assert {path.name for path in place.iterdir()} == CONTENT - {"pruned.safetensors"}
    (warning,) = json.loads((place / "report.json").read_text())["warnings"]
    assert "pruned.safetensors was not written" in warning


@pytest.mark.parametrize("history", [History(), History([8], [0.5], [math.inf], [0.0])])
def test_plots_cope_with_little_to_show(tmp_path, report, history):
    little = replace(report, history=history, baselines={}, accuracy=None)
    assert {path.name for path in (little.save(tmp_path / "run") / "plots").iterdir()} == PLOTS


def test_an_existing_folder_is_refused(tmp_path, report):
    (tmp_path / "run").mkdir()
    with pytest.raises(SaveError, match="exists.*--overwrite"):
        report.save(tmp_path / "run")
    assert contents(tmp_path) == {"run": None}


def test_overwriting_replaces_a_run(tmp_path, report):
    first = report.save(tmp_path / "run")
    (first / "stray").write_text("")
    report.save(first, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (first / "stray").exists()


def test_overwriting_keeps_what_is_not_ours(tmp_path, report):
    for thesis in ("one", "two"):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis").write_text(thesis)
        (tmp_path / "run" / "report.json").write_text('{"versions": {}}')
        report.save(tmp_path / "run", overwrite=True)
        converters.formats.read(tmp_path / "run" / "pruned.safetensors")
        if thesis == "one":
            (tmp_path / "run").rename(tmp_path / "first")
    assert (tmp_path / "run.old" / "thesis").read_text() == "one"
    assert (tmp_path / "run.old1" / "thesis").read_text() == "two"


def test_a_link_stays_a_link(tmp_path, report):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    report.save(tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "report.json").exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="is a file"):
        check_out(tmp_path / "file", overwrite=True)
    with pytest.raises(SaveError, match="is a file"):
        check_out(tmp_path / "file" / "run")


def test_too_little_space_is_told_beforehand(tmp_path):
    with pytest.raises(SaveError, match="free, about 1,000,000,000,000 MB are needed"):
        check_out(tmp_path / "run", num_bytes=10**18)


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def no_space_for_weights(*args, **kwargs):
    raise FormatError("can't be written") from OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("target", "failure"),
    [
        ("folder.write_json", no_space),
        ("weights.write_npz", no_space_for_weights),
        ("weights.write_safetensors", no_space_for_weights),
        ("weights.save_tree", no_space),
        ("plots.draw_plots", no_space),
    ],
)
def test_a_full_disk_leaves_everything_as_it_was(tmp_path, report, monkeypatch, target, failure):
    old = tmp_path / "old"
    old.mkdir()
    (old / "report.json").write_text('{"versions": {"jgaprune": "0"}}')
    before = contents(tmp_path)
    monkeypatch.setattr(f"jgaprune.report.{target}", failure)
    for place in (tmp_path / "new", tmp_path / "deep" / "er", old):
        with pytest.raises(SaveError, match=f"could not write {place}: No space left"):
            report.save(place, overwrite=True)
    assert contents(tmp_path) == before


def test_an_interrupt_leaves_everything_as_it_was(tmp_path):
    def interrupted(folder):
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "run", interrupted)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_accuracy_counts_right_answers(batch):
    model = Model.from_fn(_linear, {"w": jnp.eye(3)}, (3,), name="linear")
    inputs = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    labels = inputs.argmax(1)
    labels[[0, 4]] = (labels[[0, 4]] + 1) % 3
    measured = accuracy(model, model.params, {}, inputs, labels, batch=batch)
    assert measured == pytest.approx(5 / 7)


def test_accuracy_compiles_once(report):
    traced = []

    def apply(params, inputs):
        traced.append(inputs.shape)
        return inputs @ params["w"]

    model = Model.from_fn(apply, {"w": jnp.eye(3)}, (3,), name="counted")
    traced.clear()
    inputs, labels = jnp.ones((10, 3)), jnp.zeros(10, jnp.int32)
    for scale in (1.0, 2.0):
        params = jax.tree.map(lambda leaf: scale * leaf, model.params)  # noqa: B023
        accuracy(model, params, {}, inputs, labels, batch=4)
    assert traced == [(4, 3)]


def test_accuracy_needs_a_label_per_input(model):
    with pytest.raises(ValueError, match="got 2 inputs and labels of shape"):
        accuracy(model, model.params, model.buffers, np.zeros((2, 8, 8, 1)), np.zeros(1))


def test_a_saved_run_is_read_back(report, saved):
    run = load_run(saved)
    assert run.document == report.to_json()
    assert run.model.spec == report.model.spec
    for name, leaf in report.params.items():
        np.testing.assert_array_equal(run.params[name], leaf)


def test_a_run_keeps_its_own_preprocessing(tmp_path, report):
    own = replace(report.model.spec.preprocessing, mean=(0.25,), std=(0.5,))
    spec = replace(report.model.spec, preprocessing=own)
    place = replace(report, model=report.model._replace(spec=spec)).save(tmp_path / "run")
    assert load_run(place).model.spec.preprocessing == own


def edited(saved, tmp_path, edit):
    """A copy of a run's report with something changed, without its parameters."""
    document = json.loads((saved / "report.json").read_text())
    edit(document)
    (tmp_path / "report.json").write_text(json.dumps(document))
    return tmp_path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["model"]["source"].update(path="/nowhere.pth"), "not there.*--weights"),
        (lambda d: d["model"]["source"].update(sha256="0" * 64), "sha256 differs"),
        (lambda d: d.update(schema_version=2), "schema version 2, this jgaprune reads 1"),
        (lambda d: d.pop("schema_version"), "can't be read"),
        (lambda d: None, "no folder params"),
    ],
)
def test_a_run_that_can_not_be_evaluated_is_explained(saved, tmp_path, edit, message):
    with pytest.raises(ValueError, match=message):
        load_run(edited(saved, tmp_path, edit))


def test_a_damaged_folder_is_explained(saved, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    for path in (run / "params").rglob("*"):
        if path.is_file() and path.stat().st_size > 10_000:
            path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FormatError, match="params"):
        load_run(run)


def test_the_parameters_of_another_run_are_refused(saved, tmp_path, report):
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    shutil.rmtree(run / "params")
    save_tree(run / "params", {"params": report.params})
    with pytest.raises(ValueError, match="does not hold the parameters and buffers of digits_cnn"):
        load_run(run)


def test_moved_weights_are_found_where_the_user_says(saved, tmp_path, report):
    moved = shutil.copy(report.model.spec.source.path, tmp_path / "moved.pth")
    document = json.loads((saved / "report.json").read_text())
    assert load_run(saved, weights=moved).document == document


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not the folder of a run"):
        load_run(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ValueError, match="can't be read"):
        load_run(tmp_path)


def _linear(params, inputs):
    return inputs @ params["w"]
