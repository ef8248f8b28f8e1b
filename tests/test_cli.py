"""The command line: what it promises works, and whatever is wrong is said in one message."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import click
import numpy as np
import pytest
from click.testing import CliRunner

import jgaprune as jp
from jgaprune import converters, driver
from jgaprune.cli import main
from jgaprune.cli.progress import shown_progress
from jgaprune.cli.search_options import evaluation_options
from jgaprune.converters.formats import read, write_npz, write_safetensors
from jgaprune.demo import WEIGHTS as DIGITS
from jgaprune.driver import inputs as driver_inputs
from jgaprune.inputs.files import read_inputs
from jgaprune.report import History

SEARCH = ("--population", "4", "--generations", "2", "--space", "offsets")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def random(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def names_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Trap:
    """Its pickle makes a folder when it is executed."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An MLP of 16 inputs and 5 outputs, labelled and unlabelled data for it, and bad files."""
    folder = tmp_path_factory.mktemp("files")
    layers = {"fc1.weight": random(12, 16), "fc1.bias": random(12), "fc2.weight": random(5, 12)}
    tensors = {**layers, "fc2.bias": random(5)}
    write_safetensors(folder / "mlp.safetensors", tensors)
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    labels = np.arange(30) % 5
    np.savez(folder / "labelled.npz", images=images, labels=labels)
    np.save(folder / "inputs.npy", images)
    np.save(folder / "text.npy", np.array(["a"]))
    np.save(folder / "wide.npy", random(3, 17))
    np.save(folder / "nan.npy", np.full((3, 16), np.nan, np.float32))
    np.savez(folder / "unlabelled.npz", images=images)
    content = (folder / "mlp.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(content[:-40])
    (folder / "truncated.pth").write_bytes(DIGITS.read_bytes()[:5000])
    misshapen = dict(read(DIGITS).tensors)
    misshapen["conv3.weight"] = misshapen["conv3.weight"][:, :-1]
    write_npz(folder / "misshapen.npz", misshapen)
    with zipfile.ZipFile(folder / "trap.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap(folder / "sprung"), protocol=2))
    return folder


@pytest.fixture(scope="module")
def pruned(files, tmp_path_factory):
    """A real run on the MLP: its folder and what the command printed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    result = run(
        *("prune", "--arch", "mlp", "--weights", files / "mlp.safetensors", "--sparsity", "0.5"),
        *("--inputs", files / "inputs.npy", "--eval-data", files / "labelled.npz"),
        *("--space", "offsets", "--evolver", "genetic", "--objective", "kl", "--seed", "3"),
        *("--evaluations", "12", "--population", "4", "--chunk", "2", "--out", out),
    )
    assert result.exit_code == 0, result.output
    return out, result


def test_prune_prints_the_comparison_and_saves_the_run(pruned):
    out, result = pruned
    assert "method" in result.stdout
    assert "evolved (this run)" in result.stdout
    assert str(out) in result.stdout
    document = json.loads((out / "report.json").read_text())
    assert document["model"]["name"] == "mlp"
    assert document["sparsity"]["achieved"] == pytest.approx(0.5, abs=1 / 252)
    assert document["fitness"]["objective"] == "kl"
    assert document["evaluations"] == 12
    assert document["fitness"]["best"] <= document["fitness"]["start"]
    assert document["settings"]["files"]["inputs"]["path"].endswith("inputs.npy")
    assert len(document["settings"]["files"]["eval_data"]["sha256"]) == 64


def test_progress_goes_to_stderr(pruned):
    _, result = pruned
    assert "jgaprune: searching" in result.stderr
    assert "searching" not in result.stdout


def test_evaluate_agrees_with_the_report(pruned, files):
    out, _ = pruned
    result = run("evaluate", "--run", out, "--eval-data", files / "labelled.npz", "--json")
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    expected = json.loads((out / "report.json").read_text())["accuracy"]
    assert measured == {**expected, "n": 30}
    text = run("evaluate", "--run", out, "--eval-data", files / "labelled.npz").stdout
    assert f"{100 * expected['pruned']:.2f} %" in text


def test_evaluate_finds_moved_weights(pruned, files, tmp_path):
    out, _ = pruned
    moved = shutil.copy(files / "mlp.safetensors", tmp_path / "moved.safetensors")
    labelled = files / "labelled.npz"
    there = run("evaluate", "--run", out, "--eval-data", labelled, "--json")
    here = run("evaluate", "--run", out, "--eval-data", labelled, "--weights", moved, "--json")
    assert json.loads(here.stdout) == json.loads(there.stdout)


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (0.6, 0.1)])
def test_evaluate_agrees_with_numpy_under_any_normalisation(pruned, files, mean, std):
    layers = read(files / "mlp.safetensors").tensors
    data = np.load(files / "labelled.npz")
    x = (data["images"].reshape(30, 16) / 255 - mean) / std
    x = np.maximum(x @ layers["fc1.weight"].T + layers["fc1.bias"], 0)
    logits = x @ layers["fc2.weight"].T + layers["fc2.bias"]
    expected = np.mean(logits.argmax(1) == data["labels"])
    arguments = ("evaluate", "--run", pruned[0], "--eval-data", files / "labelled.npz", "--json")
    measured = json.loads(run(*arguments, "--mean", mean, "--std", std).stdout)
    assert measured["dense"] == pytest.approx(expected)


def test_the_search_and_evaluation_share_the_given_normalisation(files, tmp_path, monkeypatch):
    seen = {}

    def note(model, *, inputs, evaluation_data, **_):
        seen.update(model=model, inputs=inputs, evaluation=evaluation_data[0])
        raise ValueError("noted")

    monkeypatch.setattr(driver, "prune", note)
    run(
        *("prune", "--weights", files / "mlp.safetensors", "--sparsity", "0.5"),
        *("--inputs", files / "inputs.npy", "--eval-data", files / "labelled.npz"),
        *("--mean", "0.5", "--std", "0.25", "--out", tmp_path / "run"),
    )
    expected = (np.load(files / "inputs.npy").reshape(30, 16) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(seen["inputs"].reshape(30, 16), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(seen["inputs"], seen["evaluation"])
    assert seen["model"].spec.preprocessing.std == (0.25,)


@pytest.mark.slow
def test_a_labelled_objective_takes_labels_from_the_inputs(files, tmp_path):
    arguments = ("prune", "--weights", files / "mlp.safetensors", "--sparsity", "0.5", *SEARCH)
    arguments += ("--objective", "accuracy", "--space", "scores", "--evolver", "paper2")
    result = run(*arguments, "--inputs", files / "labelled.npz", "--out", tmp_path / "a", "--json")
    assert result.exit_code == 0, result.output
    assert "paper's setting" in json.loads(result.stdout)["note"]
    assert json.loads(result.stdout) == json.loads((tmp_path / "a" / "report.json").read_text())
    result = run(*arguments, "--inputs", files / "unlabelled.npz", "--out", tmp_path / "b")
    assert result.exit_code == 2
    assert "labels missing" in result.stderr
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_racing_is_asked_for_by_an_option(files, tmp_path):
    arguments = ("prune", "--weights", files / "mlp.safetensors", "--sparsity", "0.5", *SEARCH)
    arguments += ("--inputs", files / "inputs.npy", "--racing")
    result = run(*arguments, "--out", tmp_path / "a", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["settings"]["racing"] == [{"look_inputs": 4, "survivors": 1, "cost": 4 / 30}]
    assert document["evaluations"] == 4 + 2 * (1 + 1)
    result = run(*arguments, "--evolver", "paper2", "--out", tmp_path / "b")
    assert result.exit_code == 2
    assert "paper2 evaluates every child" in result.stderr


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ((), False),
        (("--racing",), True),
        (("--racing", "--chunk", "2"), True),
        (("--racing", "1/16:1/2,0.25:1/4"), (jp.Racing(1 / 16, 1 / 2), jp.Racing(1 / 4, 1 / 4))),
    ],
)
def test_looks_are_read_from_the_option(option, expected):
    @click.command()
    @evaluation_options
    def command(racing, chunk, strategy):
        click.echo(repr(racing))

    result = CliRunner().invoke(command, option)
    assert result.output.strip() == repr(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1/4", "1/16:1/2,1/4:1/4"),
        ("1/0:1", "1/16:1/2,1/4:1/4"),
        ("1/4:1/2,1/8:1/4", "must grow"),
    ],
)
def test_looks_that_make_no_sense_are_explained(text, message):
    result = run("prune", "--weights", "w", "--sparsity", "0.5", "--out", "o", "--racing", text)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.slow
def test_trust_is_looked_at_closer_by_an_option(files, tmp_path):
    arguments = ("prune", "--weights", files / "mlp.safetensors", "--sparsity", "0.5", *SEARCH)
    arguments += ("--inputs", files / "inputs.npy", "--eval-data", files / "labelled.npz")
    arguments += ("--space", "offsets", "--repair", "none", "--quiet")
    result = run(*arguments, "--trust", "--out", tmp_path / "a", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["trust"]["rank_correlation"]["num_masks"] > 24


@pytest.fixture
def quick_inputs(monkeypatch):
    """Synthesised inputs without the optimisation, inside the range of pixels."""

    def synthesized(model, key, num):
        return np.abs(random(num, *model.spec.input_shape)).clip(0, 1)

    monkeypatch.setattr(driver_inputs, "synthesized", synthesized)


def test_synthesised_inputs_come_back_as_they_were_written(files, tmp_path, quick_inputs):
    out = tmp_path / "new" / "inputs.npz"
    given = ("synthesize", "--weights", files / "mlp.safetensors", "--num", "6", "--out", out)
    result = run(*given)
    assert result.exit_code == 0, result.output
    for said in ("float32 [6, 16]", "inverted", "0.0", "to 1", str(out)):
        assert said in result.stdout
    assert names_below(out.parent) == ["inputs.npz", "inputs.png"]
    written = np.abs(random(6, 16)).clip(0, 1)
    spec = converters.load("mlp", files / "mlp.safetensors").spec
    np.testing.assert_array_equal(read_inputs(out, spec), written)
    before = out.read_bytes()
    again = run(*given)
    assert again.exit_code == 2 and "exists" in again.stderr and out.read_bytes() == before
    assert run(*given, "--overwrite").exit_code == 0


@pytest.mark.parametrize("name", ["inputs.npy", "inputs"])
def test_synthesised_inputs_are_written_as_npz_only(files, tmp_path, quick_inputs, name):
    result = run("synthesize", "--weights", files / "mlp.safetensors", "--out", tmp_path / name)
    assert result.exit_code == 2 and ".npz" in result.stderr
    assert not names_below(tmp_path)


def test_inspect_shows_architecture_and_what_is_prunable():
    result = run("inspect", DIGITS, "--json")
    document = json.loads(result.stdout)
    assert document["architecture"]["name"] == "digits_cnn"
    assert document["reason"] is None
    assert document["num_weights"] == {"total": 103_343, "prunable": 102_304}
    tensors = {tensor["name"]: tensor for tensor in document["tensors"]}
    assert tensors["conv2.weight"] == {
        "name": "conv2.weight",
        "shape": [32, 32, 3, 3],
        "dtype": "float32",
        "leaf": "conv2.kernel",
        "prunable": True,
    }
    assert [tensors[name]["prunable"] for name in ("bn1.weight", "linear.bias")] == [False] * 2
    text = run("inspect", DIGITS).stdout
    assert "102,304 are prunable" in text
    assert "conv2.weight" in text


def test_inspect_says_why_it_does_not_know_a_network(tmp_path):
    write_npz(tmp_path / "odd.npz", {"a": random(2, 3, 4)})
    document = json.loads(run("inspect", tmp_path / "odd.npz", "--json").stdout)
    assert document["architecture"] is None
    assert "no known architecture fits" in document["reason"]
    assert document["tensors"][0]["prunable"] is None


@pytest.mark.parametrize("form", ["orbax", "safetensors", "npz"])
def test_converted_weights_load_again(tmp_path, form):
    result = run("convert", DIGITS, "--arch", "digits_cnn", "--out", tmp_path / "x", "--to", form)
    assert result.exit_code == 0, result.output
    spec = json.loads((tmp_path / "x" / "model.json").read_text())
    assert spec["name"] == "digits_cnn"
    assert spec["tensors"]["conv1.kernel"]["name"] == "conv1.weight"
    weights = tmp_path / "x" / {"orbax": "params"}.get(form, f"params.{form}")
    arrays = {name.removeprefix("params."): array for name, array in read(weights).tensors.items()}
    expected = read(DIGITS).tensors["conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(arrays["conv2.kernel"], expected)
    inspected = json.loads(run("inspect", weights, "--json").stdout)
    assert inspected["architecture"]["name"] == "digits_cnn"


def test_arguments_of_an_architecture_reach_it(files, tmp_path):
    arguments = ("convert", files / "mlp.safetensors", "--arch", "mlp", "--out", tmp_path / "x")
    run(*arguments, "--arch-config", "activation=tanh", "--arch-config", "widths=16,12,5")
    config = json.loads((tmp_path / "x" / "model.json").read_text())["config"]
    assert config["activation"] == "tanh"
    assert config["widths"] == [16, 12, 5]


PRUNE = ("prune", "--arch", "auto", "--weights", "mlp.safetensors", "--sparsity", "0.5", *SEARCH)
BAD_INPUT = {
    "missing weights": ({"--weights": "absent.pth"}, "does not exist"),
    "truncated safetensors": ({"--weights": "truncated.safetensors"}, "truncated.safetensors"),
    "truncated pth": ({"--weights": "truncated.pth"}, "truncated.pth"),
    "pickle with code": ({"--weights": "trap.pth"}, "Nothing was executed"),
    "another architecture": ({"--arch": "digits_cnn"}, "conv1.weight"),
    "unknown architecture": ({"--arch": "cifar_resnet2"}, "Nearest: cifar_resnet"),
    "unknown argument": ({"--arch": "mlp", "--arch-config": "depth=3"}, "no 'depth'"),
    "no key=value": ({"--arch-config": "depth"}, "expected key=value"),
    "misshapen tensor": (
        {"--arch": "digits_cnn", "--weights": "misshapen.npz"},
        "conv3.weight",
    ),
    "sparsity 0": ({"--sparsity": "0"}, "sparsity must be between 0 and 1"),
    "sparsity 1": ({"--sparsity": "1"}, "sparsity must be between 0 and 1"),
    "sparsity -0.1": ({"--sparsity": "-0.1"}, "sparsity must be between 0 and 1"),
    "sparsity 70": ({"--sparsity": "70"}, "Did you mean 0.7?"),
    "sparsity nan": ({"--sparsity": "nan"}, "sparsity must be between 0 and 1"),
    "sparsity text": ({"--sparsity": "half"}, "'half' is not a valid float"),
    "inputs missing": ({"--inputs": "absent.npy"}, "there is no such file"),
    "inputs of text": ({"--inputs": "text.npy"}, "dtype <U1"),
    "inputs of another shape": ({"--inputs": "wide.npy"}, "shape (3, 17); expected (N, 16)"),
    "inputs with NaN": ({"--inputs": "nan.npy"}, "48 of 48 values are NaN"),
    "evaluation data without labels": ({"--eval-data": "unlabelled.npz"}, "labels missing"),
    "labelled objective without labels": ({"--objective": "accuracy"}, "needs labels"),
    "mean of the wrong length": ({"--mean": "1,2"}, "mean needs 1 number"),
    "mean of text": ({"--mean": "grey"}, "separated by commas"),
    "zero population": ({"--population": "0"}, "--population"),
    "zero generations": ({"--generations": "0"}, "--generations"),
    "zero evaluations": ({"--evaluations": "0"}, "--evaluations"),
    "zero chunk": ({"--chunk": "0", "--inputs": "inputs.npy"}, "chunk"),
    "chunk of text": ({"--chunk": "big"}, "expected a whole number or auto"),
    "unknown space": ({"--space": "layers", "--inputs": "inputs.npy"}, "layers"),
    "unknown evolver": ({"--evolver": "cmaes", "--inputs": "inputs.npy"}, "cmaes"),
    "unknown evosax evolver": ({"--evolver": "evosax:Nope", "--inputs": "inputs.npy"}, "Nope"),
    "unknown objective": ({"--objective": "loss", "--inputs": "inputs.npy"}, "loss"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_message_and_nothing_written(
    files, tmp_path, monkeypatch, changes, message
):
    monkeypatch.chdir(files)
    before = names_below(files)
    options = dict(zip(PRUNE[1::2], PRUNE[2::2], strict=True)) | changes
    arguments = [part for pair in options.items() for part in pair]
    result = run("prune", *arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert names_below(files) == before
    assert names_below(tmp_path) == []


def test_several_faults_are_told_at_once(files, tmp_path):
    result = run(
        *("prune", "--weights", files / "mlp.safetensors", "--sparsity", "70"),
        *("--inputs", files / "nan.npy", "--eval-data", files / "unlabelled.npz"),
        *("--out", tmp_path / "run"),
    )
    assert result.exit_code == 2
    assert result.stderr.startswith("jgaprune: ")
    for part in ("Did you mean 0.7?", "48 of 48 values", "labels missing"):
        assert part in result.stderr


@pytest.mark.parametrize("command", [("prune", "--sparsity", "0.5", "--weights"), ("convert",)])
def test_an_existing_folder_is_refused_before_any_work(files, tmp_path, monkeypatch, command):
    def fail(*_, **__):
        raise AssertionError("the search started")

    monkeypatch.setattr(driver, "prune", fail)
    (tmp_path / "run").mkdir()
    result = run(*command, files / "mlp.safetensors", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert names_below(tmp_path) == ["run"]


def test_overwriting_is_allowed_on_request(files, tmp_path):
    arguments = ("convert", files / "mlp.safetensors", "--arch", "mlp", "--out", tmp_path / "x")
    assert run(*arguments).exit_code == 0
    assert run(*arguments).exit_code == 2
    assert run(*arguments, "--overwrite").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.fixture
def instant_search(monkeypatch):
    """Replaces the search by one that does nothing but magnitude, and may be told what to raise."""
    from test_report import magnitude_report

    def install(error=None, meanwhile=lambda: None, **changes):
        def prune(model, *, on_record=None, **_):
            if error is not None:
                raise error
            meanwhile()
            return replace(magnitude_report(model), **changes)

        monkeypatch.setattr(driver, "prune", prune)

    return install


def test_a_full_disk_after_the_search_still_shows_the_result(tmp_path, monkeypatch, instant_search):
    instant_search()

    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jgaprune.report.weights.save_tree", no_space)
    result = run("prune", "--weights", DIGITS, "--sparsity", "0.9", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "evolved (this run)" in result.stdout
    assert "No space left on device" in result.stderr
    assert names_below(tmp_path) == []


def test_ctrl_c_before_anything_was_found(tmp_path, instant_search):
    instant_search(KeyboardInterrupt())
    result = run("prune", "--weights", DIGITS, "--sparsity", "0.9", "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "nothing was written" in result.stderr
    assert names_below(tmp_path) == []


def test_ctrl_c_saves_the_best_so_far(tmp_path, instant_search):
    instant_search(interrupted=True)
    result = run("prune", "--weights", DIGITS, "--sparsity", "0.9", "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "interrupted after 16 evaluations" in result.stderr
    assert json.loads((tmp_path / "run" / "report.json").read_text())["interrupted"] is True


def test_a_folder_that_is_not_ours_is_kept_and_named(tmp_path, instant_search):
    instant_search(history=History())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis").write_text("")
    (tmp_path / "run.old").mkdir()
    arguments = ("--out", tmp_path / "run", "--overwrite")
    result = run("prune", "--weights", DIGITS, "--sparsity", "0.9", *arguments)
    assert result.exit_code == 0
    assert f"is now {tmp_path / 'run.old1'}." in result.stderr
    assert (tmp_path / "run.old1" / "thesis").exists()
    (tmp_path / "run" / "report.json").unlink()
    assert f"is now {tmp_path / 'run.old2'}." in run("convert", DIGITS, *arguments).stderr


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_could_not_be_written_is_said(tmp_path, instant_search, options):
    weights = tmp_path / "digits.pth"
    shutil.copy(DIGITS, weights)
    instant_search(meanwhile=weights.unlink)
    arguments = ("--sparsity", "0.9", "--out", tmp_path / "run")
    result = run("prune", "--weights", weights, *arguments, *options)
    assert result.exit_code == 0
    assert "warning: pruned.safetensors was not written" in result.stderr
    assert "pruned.safetensors" not in result.stdout.partition("Saved in")[2]
    if options:
        saved = json.loads((tmp_path / "run" / "report.json").read_text())
        assert json.loads(result.stdout) == saved


def test_faults_in_our_own_code_are_not_hidden(tmp_path, instant_search):
    instant_search(TypeError("a bug"))
    result = run("prune", "--weights", DIGITS, "--sparsity", "0.9", "--out", tmp_path / "run")
    assert isinstance(result.exception, TypeError)


def test_what_no_file_tells_is_said_unless_it_is_given(files):
    weights = files / "mlp.safetensors"
    assert "assumed, since weights don't tell: activation=relu" in run("inspect", weights).stderr
    told = ("--arch", "mlp", "--arch-config", "activation=tanh")
    assert "activation" not in run("inspect", weights, *told).stderr


@pytest.mark.parametrize(
    "command",
    ["demo", "prune", "synthesize", "evaluate", "inspect", "convert", "export", "verify", "bench"],
)
def test_help_names_every_option(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    for parameter in main.commands[command].params:
        name = parameter.opts[0]
        assert (name if name.startswith("-") else parameter.metavar) in result.stdout


def test_help_names_every_choice():
    text = " ".join(run("prune", "--help").stdout.split())
    for name in (*driver.SPACES, *driver.OBJECTIVES, *driver.EVOLVERS):
        assert name in text


def test_quiet_is_quiet(capsys):
    with shown_progress(quiet=True) as on_record:
        assert on_record is None
    assert capsys.readouterr().err == ""


def test_running_into_a_file_size_limit_leaves_nothing(tmp_path):
    limited = ["sh", "-c", 'ulimit -f 90 && exec "$@"', "sh", sys.executable, "-m", "jgaprune"]
    command = [*limited, "convert", str(DIGITS), "--out", str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert names_below(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_search_with_a_result(tmp_path, number):
    code, text = _signalled(tmp_path / "run", "searching", number, number)
    assert code == 130, text
    assert "is being saved" in text and "interrupted after" in text
    document = json.loads((tmp_path / "run" / "report.json").read_text())
    assert document["interrupted"] is True
    assert document["evaluations"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["making inputs", "measuring", "compiling"])
def test_a_signal_before_anything_was_found_ends_at_once(tmp_path, moment):
    code, text = _signalled(tmp_path / "run", moment, signal.SIGINT)
    assert code == 130, text
    assert text.endswith("interrupted; nothing was written.\n") and "Traceback" not in text
    assert names_below(tmp_path) == []


def _signalled(out, moment, *numbers):
    """Exit code and stderr of a search that gets signals once a phase was told."""
    # A shell's background jobs ignore SIGINT, and their children inherit that.
    heeding = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    heeding += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", heeding, "-m", "jgaprune", "prune", "--weights", str(DIGITS)]
    command += ["--sparsity", "0.9", "--generations", "1000000", "--out", str(out)]
    command += ["--train-steps", "5", "--num-inputs", "64", "--seconds", "120"]
    # With programs from an earlier test, a phase may be over before the signal comes.
    fresh = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    lines = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=fresh) as process:
        try:
            for line in process.stderr:
                lines.append(line)
                if moment in line:
                    break
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.3)
            _, rest = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, "".join(lines) + rest
