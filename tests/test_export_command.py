"""`export`: pruned weights that their own framework loads, bit for bit, or nothing at all."""

import json
import math
import re
import shutil
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from golden import golden

from jgaprune import converters
from jgaprune.cli import main
from jgaprune.converters import ConversionError, export, load, load_masks, masks_to_source
from jgaprune.converters.formats import FormatError, read, write_npz, write_pth, write_safetensors
from jgaprune.masks import apply_masks
from jgaprune.report.document import SCHEMA_VERSION, plain
from jgaprune.report.weights import write_tree

DTYPES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64}
SUFFIXES = {"safetensors": ".safetensors", "npz": ".npz", "torch": ".pth", "hf": ""}
FORMS = [pytest.param(to, marks=[pytest.mark.parity] * (to == "torch")) for to in SUFFIXES]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def digits(dtype=np.float32):
    """The demo's network with a `module.` prefix, counters of batch-norm included."""
    tensors = golden("digits_cnn").tensors
    return {
        f"module.{name}": (array * np.float64(1.1)).astype(dtype) if array.ndim else array
        for name, array in tensors.items()
    }


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """`source`, a Hugging Face folder with files that are no weights, and `run`, made from it."""
    place = tmp_path_factory.mktemp("origin")
    folder = place / "source"
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", digits())
    (folder / "config.json").write_text('{"model_type": "digits"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"others")
    (folder / "model.safetensors.index.json").write_text("{}")
    model = load("digits_cnn", folder / "model.safetensors")
    return place, model, *_save_run(model, place / "run")


def _save_run(model, folder):
    """What `export` reads of a run, whose statistics have moved; returns masks and weights."""
    random = np.random.RandomState(0)
    masks = {name: random.rand(*model.params[name].shape) < 0.5 for name in model.spec.prunable}
    params = apply_masks({name: 1.5 * leaf for name, leaf in model.params.items()}, masks)
    buffers = {name: leaf + 0.25 for name, leaf in model.buffers.items()}
    folder.mkdir()
    write_tree(folder / "params", {"params": params, "buffers": buffers})
    write_npz(folder / "masks.npz", converters.pack_masks(masks_to_source(model, masks)))
    about = {**vars(model.spec), "source": vars(model.spec.source)}
    about |= {"config": dict(model.spec.config), "preprocessing": vars(model.spec.preprocessing)}
    document = {"schema_version": SCHEMA_VERSION, "model": plain(about)}
    (folder / "report.json").write_text(json.dumps(document))
    return masks, params, buffers


@pytest.fixture
def folder(origin, tmp_path):
    """A copy of the source alone."""
    return shutil.copytree(origin[0] / "source", tmp_path / "source")


@pytest.fixture
def saved(origin, folder, tmp_path):
    """A copy of the run whose source is beside it."""
    copied = shutil.copytree(origin[0] / "run", tmp_path / "run")
    report = (copied / "report.json").read_text().replace(str(origin[0]), str(tmp_path))
    (copied / "report.json").write_text(report)
    return copied


def tensors_in(path):
    return read(path / "model.safetensors" if path.is_dir() else path).tensors


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_identical(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape), name
        assert array.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("to", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_unpruned_weights_come_back_bit_identical(folder, tmp_path, to, dtype):
    tensors = digits(DTYPES[dtype])
    write_safetensors(folder / "model.safetensors", tensors)
    model = load("digits_cnn", folder / "model.safetensors")
    out = tmp_path / f"out{SUFFIXES[to]}"
    before = below(tmp_path)
    if (to, dtype) == ("npz", "bf16"):
        with pytest.raises(FormatError, match="can't store bfloat16; write a .safetensors"):
            export(model, model.params, model.buffers, to=to, out=out)
        assert below(tmp_path) == before
        return
    written = export(model, model.params, model.buffers, to=to, out=out)
    assert (written.weights, written.masks, written.num_tensors) == (out, None, len(tensors))
    assert_identical(tensors_in(out), tensors)


@pytest.mark.parametrize("kind", ["npz", pytest.param("pth", marks=pytest.mark.parity)])
@pytest.mark.parametrize("to", FORMS[:3])
def test_forms_can_be_exchanged_and_keep_the_order(tmp_path, kind, to):
    tensors = digits(np.float64)
    {"npz": write_npz, "pth": write_pth}[kind](tmp_path / f"weights.{kind}", tensors)
    model = load("digits_cnn", tmp_path / f"weights.{kind}")
    out = tmp_path / f"out{SUFFIXES[to]}"
    export(model, model.params, model.buffers, to=to, out=out)
    assert_identical(read(out).tensors, tensors)
    if to != "safetensors":  # Its library orders tensors by dtype and name.
        assert list(read(out).tensors) == list(tensors)


@pytest.mark.parametrize("to", FORMS)
def test_a_run_is_exported_as_it_was_saved(origin, saved, tmp_path, to):
    _, model, masks, params, buffers = origin
    out = tmp_path / f"out{SUFFIXES[to]}"
    result = run("export", "--run", saved, "--to", to, "--out", out)
    assert result.exit_code == 0, result.output
    exported = tensors_in(out)
    assert_identical(exported, converters.to_source(model, params, buffers))
    masks_path = out / "masks.npz" if to == "hf" else tmp_path / "out.masks.npz"
    assert f"Masks, one bit per weight: {masks_path}." in result.stdout
    removed = load_masks(masks_path)
    assert set(removed) == {
        f"{name.removesuffix('kernel')}weight" for name in map("module.{}".format, masks)
    }
    for name, mask in removed.items():
        np.testing.assert_array_equal(exported[name] != 0, mask, err_msg=name)
    assert exported["module.bn1.num_batches_tracked"].dtype == np.int64


def test_a_hugging_face_folder_has_all_but_the_old_weights(saved, tmp_path):
    run("export", "--run", saved, "--to", "hf", "--out", tmp_path / "out")
    names = ["config.json", "masks.npz", "model.safetensors", "tokenizer.json"]
    assert below(tmp_path / "out") == names
    assert read(tmp_path / "out" / "model.safetensors").metadata == {"format": "pt"}
    assert (tmp_path / "out" / "config.json").read_text() == '{"model_type": "digits"}'


def test_the_sizes_are_those_on_disk(origin, saved, tmp_path):
    masks = origin[2]
    out = tmp_path / "out.safetensors"
    result = run("export", "--run", saved, "--to", "safetensors", "--out", out, "--json")
    document = json.loads(result.stdout)
    sizes = document["bytes"]
    assert sizes["dense"] == (tmp_path / "source" / "model.safetensors").stat().st_size
    assert sizes["zeroed"] == out.stat().st_size
    removed = sum(int((~mask).sum()) for mask in masks.values())
    bits = sum(math.ceil(mask.size / 8) for mask in masks.values())
    assert sizes["packed"] == sizes["zeroed"] - 4 * removed + bits
    assert sizes["zeroed_compressed"] < sizes["dense_compressed"] < sizes["dense"]
    assert document["compression"] == "zip (deflate, level 6)"
    text = run("export", "--run", saved, "--to", "npz", "--out", tmp_path / "other.npz").stdout
    assert f"{sizes['dense']:,}  100.00 %" in text
    assert "Zeros anywhere in a tensor make nothing faster by themselves" in text


def _replace_source(folder):
    write_safetensors(folder / "model.safetensors", {"other": np.ones(3, np.float32)})


WRONG = {
    "suffix": (("torch", "out.npz"), None, "torch makes a file .pth or .pt or .th or .bin"),
    "taken": (("npz", "run/masks.npz"), None, "masks.npz exists; choose another name"),
    "taken folder": (("hf", "run"), None, "run exists, and hf makes a new folder"),
    "a folder": (("npz", "run/params"), None, "params is a folder; give a file name in it"),
    "no parent": (("npz", "absent/out.npz"), None, "there is no folder"),
    "keras": (("keras", "out.weights.h5"), None, "keras needs a model from a Keras file"),
    "no config": (("hf", "out"), lambda f: (f / "config.json").unlink(), "hf needs the folder"),
    "gone": (("npz", "out.npz"), shutil.rmtree, "are not there. Say where they are now with --wei"),
    "changed": (("npz", "out.npz"), _replace_source, "arch|fit|not the file that was pruned"),
}


@pytest.mark.parametrize("name", WRONG)
def test_nothing_is_written_when_something_is_wrong(saved, folder, tmp_path, name):
    (to, out), spoil, words = WRONG[name]
    if spoil:
        spoil(folder)
    before = below(tmp_path)
    result = run("export", "--run", saved, "--to", to, "--out", tmp_path / out)
    assert result.exit_code == 2
    assert re.search(words, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert below(tmp_path) == before


def test_moved_weights_are_found_and_files_replaced_when_allowed(saved, folder, tmp_path):
    folder.rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "model.safetensors"
    out = tmp_path / "out.npz"
    out.write_bytes(b"old")
    command = ("export", "--run", saved, "--to", "npz", "--out", out, "--weights", moved)
    assert run(*command).exit_code == 2
    assert out.read_bytes() == b"old"
    assert run(*command, "--overwrite").exit_code == 0
    assert len(read(out).tensors) == len(digits())


def test_a_full_disk_leaves_the_old_files(saved, tmp_path, monkeypatch):
    def no_space(path, arrays):
        raise FormatError("no space left on device")

    out = tmp_path / "out.safetensors"
    out.write_bytes(b"old")
    before = below(tmp_path)
    monkeypatch.setattr("jgaprune.converters.targets.write_npz", no_space)
    command = ("export", "--run", saved, "--to", "safetensors", "--out", out, "--overwrite")
    assert run(*command).exit_code == 2
    assert out.read_bytes() == b"old"
    assert below(tmp_path) == before


def test_old_masks_come_back_with_old_weights(saved, tmp_path, monkeypatch):
    def refuse(draft, place):
        raise OSError("no")

    out, masks = tmp_path / "out.npz", tmp_path / "out.masks.npz"
    out.write_bytes(b"old")
    masks.write_bytes(b"old masks")
    monkeypatch.setattr("jgaprune.converters.targets._put_in_place", refuse)
    command = ("export", "--run", saved, "--to", "npz", "--out", out, "--overwrite")
    assert run(*command).exit_code != 0
    assert (out.read_bytes(), masks.read_bytes()) == (b"old", b"old masks")


def test_old_masks_do_not_stay_beside_new_weights(folder, tmp_path):
    model, out = load("digits_cnn", folder / "model.safetensors"), tmp_path / "out.npz"
    (tmp_path / "out.masks.npz").write_bytes(b"old masks")
    export(model, model.params, model.buffers, to="npz", out=out, overwrite=True)
    assert out.exists() and not (tmp_path / "out.masks.npz").exists()


def test_links_out_of_a_hugging_face_folder_are_not_followed(folder, tmp_path):
    model = load("digits_cnn", folder / "model.safetensors")
    (tmp_path / "secret").write_text("mine")
    (folder / "tokenizer.model").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="tokenizer.model is a link out of the folder"):
        export(model, model.params, model.buffers, to="hf", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_faults_of_the_run_and_of_the_place_are_listed_together(tmp_path):
    result = run("export", "--run", tmp_path, "--to", "npz", "--out", tmp_path / "no" / "x.pth")
    assert result.exit_code == 2
    for words in ("is not the folder of a run", "there is no folder", "npz makes a file .npz"):
        assert words in result.stderr


def test_models_from_no_file_are_written_by_their_leaves(tmp_path):
    from flax import nnx

    from jgaprune.model import Model

    model = Model.from_nnx(nnx.Linear(4, 2, rngs=nnx.Rngs(0)), (4,))
    out = tmp_path / "out.safetensors"
    export(model, model.params, model.buffers, to="safetensors", out=out)
    assert set(read(out).tensors) == {"kernel", "bias"}
    with pytest.raises(ConversionError, match="hf needs the folder .* a Python object"):
        export(model, model.params, model.buffers, to="hf", out=tmp_path / "hf")
    with pytest.raises(ConversionError, match="unknown target 'onnx'. Known: torch, "):
        export(model, model.params, model.buffers, to="onnx", out=tmp_path / "x.onnx")


@pytest.mark.parity
def test_pytorch_loads_it_strictly_and_the_snippet_applies_the_masks(saved, tmp_path):
    torch = pytest.importorskip("torch")
    from jgaprune.bench.torch_networks import DigitsCNN

    out = tmp_path / "out.pth"
    result = run("export", "--run", saved, "--to", "torch", "--out", out)
    assert result.exit_code == 0, result.output
    exported = torch.load(out, weights_only=True)
    assert list(exported) == list(read(tmp_path / "source" / "model.safetensors").tensors)
    network = torch.nn.DataParallel(DigitsCNN())
    network.load_state_dict(exported, strict=True)
    dense = {name: torch.from_numpy(array.copy()) for name, array in digits().items()}
    network.load_state_dict(dense, strict=True)
    printed = result.stdout.partition("of these names:\n\n")[2]
    code = "\n".join(line.removeprefix("  ") for line in printed.splitlines())
    exec(code, {"model": network})
    masks = load_masks(tmp_path / "out.masks.npz")
    for name, tensor in network.state_dict().items():
        expected = np.where(masks[name], digits()[name], 0) if name in masks else digits()[name]
        np.testing.assert_array_equal(tensor.numpy(), expected, err_msg=name)


def test_masks_files_with_odd_shapes_are_refused(tmp_path):
    write_npz(tmp_path / "m.npz", {"w": np.zeros(1, np.uint8), "w.shape": np.array([-1, -8])})
    with pytest.raises(ConversionError, match="m.npz: w.shape is no shape"):
        load_masks(tmp_path / "m.npz")


@pytest.mark.parametrize(("kind", "out"), [("keras", "out.weights.h5"), ("hdf5", "out.keras")])
def test_a_copy_of_a_keras_file_is_called_like_it(origin, tmp_path, kind, out):
    source = replace(origin[1].spec.source, format=kind)
    model = origin[1]._replace(spec=replace(origin[1].spec, source=source))
    with pytest.raises(ConversionError, match=f"{out} must end in .(keras|weights.h5 or .h5 or)"):
        export(model, model.params, model.buffers, to="keras", out=tmp_path / out)
    assert below(tmp_path) == []
