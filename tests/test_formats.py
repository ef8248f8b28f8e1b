"""Reading and writing weight files, against files from an independent writer and real ones."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import jax
import ml_dtypes
import numpy as np
import pytest
from formats_writer import (
    STORAGES,
    Raw,
    call,
    container,
    emit,
    named,
    ordered,
    storage,
    tensor,
    zip_container,
)

from jgaprune.converters.formats import (
    FormatError,
    SourceFile,
    read,
    torch_available,
    write_npz,
    write_pth,
    write_safetensors,
)
from jgaprune.converters.formats.pth_writer import _to_tensor
from jgaprune.converters.formats.torch_pickle import _EXTENSION_DTYPES

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CONTAINERS = ["zip", "legacy"]


def read_bytes(folder, data, name="weights.pth") -> SourceFile:
    path = folder / name
    path.write_bytes(data)
    return read(path)


def numbers(dtype, count=24):
    values = np.random.default_rng(0).integers(-3, 4, count)
    return values.astype(getattr(ml_dtypes, dtype, dtype))


def assert_same(left, right):
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes()


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("dtype", STORAGES)
def test_every_storage_type_is_bit_exact(tmp_path, kind, dtype):
    array = numbers(dtype).reshape(2, 3, 4)
    root = ordered({"module.w": tensor("0", dtype, 24, (2, 3, 4))})
    data = container(kind, root, {"0": array.tobytes()}, array.dtype.itemsize)
    source = read_bytes(tmp_path, data)
    assert list(source.tensors) == ["module.w"]
    assert_same(source.tensors["module.w"], array)
    assert source.format == "pth"
    assert source.path == str(tmp_path / "weights.pth")
    assert source.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_views_are_read_as_torch_reads_them(tmp_path, kind):
    base = numbers("float32")
    views = {
        "transposed": ((6, 4), (1, 6), 0, base.reshape(4, 6).T),
        "offset": ((2, 3), (3, 1), 7, base[7:13].reshape(2, 3)),
        "strided": ((3, 2), (8, 2), 1, base.reshape(3, 8)[:, 1:5:2]),
        "expanded": ((5, 3), (0, 1), 2, np.broadcast_to(base[2:5], (5, 3))),
        "scalar": ((), (), 23, base[23].reshape(())),
        "empty": ((0, 3), (3, 1), 24, np.zeros((0, 3), np.float32)),
        "tied": ((24,), (1,), 0, base),
        "tied_too": ((24,), (1,), 0, base),
    }
    root = {n: tensor("s", "float32", 24, s, t, o) for n, (s, t, o, _) in views.items()}
    source = read_bytes(tmp_path, container(kind, root, {"s": base.tobytes()}))
    assert list(source.tensors) == list(views)
    for name, (_, _, _, expected) in views.items():
        assert_same(source.tensors[name], np.ascontiguousarray(expected).reshape(expected.shape))
        assert source.tensors[name].flags.c_contiguous
    assert source.tensors["tied"] is source.tensors["tied_too"]


def test_big_endian_zip_is_converted(tmp_path):
    array = numbers("float32", 6)
    root = {"w": tensor("0", "float32", 6, (6,)), "b": tensor("1", "bfloat16", 6, (6,))}
    half = numbers("bfloat16", 6)
    storages = {"0": array.astype(">f4").tobytes(), "1": half.view("u2").astype(">u2").tobytes()}
    source = read_bytes(
        tmp_path, zip_container(root, storages, extra={"archive/byteorder": b"big"})
    )
    assert_same(source.tensors["w"], array)
    assert_same(source.tensors["b"], half)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "params"])
def test_checkpoint_dicts_are_opened_and_plain_values_kept(tmp_path, key):
    weights = tensor("0", "float32", 2, (2,))
    root = {
        "epoch": 7,
        "arch": "resnet20",
        "best_prec1": tensor("0", "float32", 2, (), (), 1),
        key: {"w": weights, "num_batches": 3},
        "optimizer": {"state": {0: {"momentum": weights}}, "param_groups": [{"lr": 0.1}]},
        "rng": tensor("0", "float32", 2, (2,)),
    }
    source = read_bytes(tmp_path, zip_container(root, {"0": np.float32([1, 2.5]).tobytes()}))
    assert list(source.tensors) == ["w"]
    assert source.metadata == {
        "epoch": 7,
        "arch": "resnet20",
        "best_prec1": 2.5,
        "num_batches": 3,
    }


W = tensor("0", "float32", 2, (2,))


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ({"model": {"w": W}, "net": {"w": W}}, ["'model', 'net'", "unclear"]),
        ({"teacher": {"w": W}, "student": {"w": W}}, ["'teacher', 'student'", "unclear"]),
        ({"epoch": 3, "model": {}}, ["no tensors", "'epoch', 'model'"]),
        ({}, ["no tensors", "an empty dict"]),
        ([W], ["a list", "state_dict"]),
        (W, ["a tensor", "state_dict"]),
        ({0: W}, ["no names"]),
        ({"a": W, "block": {"w": W}}, ["'block'", "unclear"]),
    ],
)
def test_unclear_checkpoints_are_refused_with_their_keys(tmp_path, root, words):
    data = zip_container(root, {"0": bytes(8)})
    with pytest.raises(FormatError) as caught:
        read_bytes(tmp_path, data)
    assert all(word in str(caught.value) for word in [*words, str(tmp_path)])


@pytest.mark.parametrize("kind", CONTAINERS)
def test_harmless_names_are_understood(tmp_path, kind):
    old = (storage("0", "float32", 2), 0, (2,), (1,))
    rebuilt = call(named("torch._utils", "_rebuild_tensor"), *old)
    root = {
        "size": call(named("torch", "Size"), [1, 2]),
        "device": call(named("torch", "device"), "cuda", 0),
        "dtype": named("torch", "float32"),
        "set": call(named("__builtin__", "set"), [1, 2]),
        "counter": call(named("collections", "Counter"), {100: 1}),
        "state_dict": {
            "p": call(named("torch._utils", "_rebuild_parameter"), rebuilt, True, None),
            "q": call(named("torch.nn.parameter", "Parameter"), rebuilt, False),
        },
    }
    array = np.float32([3, 4])
    source = read_bytes(tmp_path, container(kind, root, {"0": array.tobytes()}))
    assert source.metadata == {"device": "cuda:0"}
    for name in ("p", "q"):
        assert_same(source.tensors[name], array)


def test_views_into_a_storage_from_before_torch_04(tmp_path):
    base = ("storage", named("torch", "FloatStorage"), "0", "cpu", 6, ("7", 2, 4))
    old = (Raw(emit(base) + b"Q"), 1, (2,), (1,))
    root = {"w": call(named("torch._utils", "_rebuild_tensor"), *old)}
    array = np.arange(6, dtype=np.float32)
    source = read_bytes(tmp_path, container("legacy", root, {"0": array.tobytes()}))
    assert source.tensors["w"].tolist() == [3, 4]


def mixed_arrays():
    return {
        **{name: numbers(name, 6).reshape(2, 3) for name in _EXTENSION_DTYPES},
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.int64),
        "mask": np.array([True, False, True]),
        "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "swapped": np.arange(3, dtype=">i4"),
    }


def test_safetensors_round_trip(tmp_path):
    arrays = mixed_arrays()
    write_safetensors(tmp_path / "w.safetensors", arrays, {"arch": "resnet20"})
    source = read(tmp_path / "w.safetensors")
    assert source.format == "safetensors"
    assert source.metadata == {"arch": "resnet20"}
    assert set(source.tensors) == set(arrays)
    for name, array in arrays.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert_same(source.tensors[name], native)


def test_npz_round_trip_with_equal_bytes(tmp_path):
    arrays = {k: v for k, v in mixed_arrays().items() if k not in _EXTENSION_DTYPES}
    write_npz(tmp_path / "a.npz", arrays)
    write_npz(tmp_path / "b.npz", arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    source = read(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as reference:
        assert list(source.tensors) == list(reference) == list(arrays)
        for name in arrays:
            assert_same(source.tensors[name], reference[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_numpy_with_text_and_foreign_byte_order(tmp_path, save):
    save(tmp_path / "w.npz", **{"a.w": np.arange(3, dtype=">f4"), "arch": "mlp"})
    source = read(tmp_path / "w.npz")
    assert source.metadata == {"arch": "mlp"}
    assert_same(source.tensors["a.w"], np.arange(3, dtype=np.float32))


def test_writers_refuse_what_they_cannot_store(tmp_path):
    with pytest.raises(FormatError, match="'a', ''"):
        write_npz(tmp_path / "w.npz", {"a": np.array([object()]), "": np.ones(1)})
    with pytest.raises(FormatError, match="'pair'.*arrays of numbers"):
        write_safetensors(tmp_path / "w.safetensors", {"pair": np.zeros(1, "f4,f4")})
    with pytest.raises(FormatError, match="complex128"):
        write_safetensors(tmp_path / "w.safetensors", {"w": np.ones(1, np.complex128)})
    with pytest.raises(FormatError, match="text"):
        write_safetensors(tmp_path / "w.safetensors", {"w": np.ones(1)}, {"epoch": 3})
    with pytest.raises(FormatError, match="existing folder"):
        write_npz(tmp_path / "absent" / "w.npz", {"w": np.ones(1)})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", _EXTENSION_DTYPES)
def test_npz_refuses_what_numpy_alone_cannot_read(tmp_path, dtype):
    with pytest.raises(FormatError, match=f"{dtype}.*safetensors"):
        write_npz(tmp_path / "w.npz", {"w": numbers(dtype)})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", _EXTENSION_DTYPES)
def test_bits_travel_to_torch_as_integers(dtype):
    class Bits(np.ndarray):
        def view(self, kind):
            return np.asarray(self), kind

    fake = SimpleNamespace(from_numpy=lambda bits: bits.view(Bits), **{dtype: dtype})
    bits, kind = _to_tensor(fake, numbers(dtype))
    assert (bits.dtype.kind, kind) == ("i", dtype)
    assert bits.tobytes() == numbers(dtype).tobytes()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.npz"
    write_npz(path, {"w": np.ones(3)})
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(FormatError, match="disk full"):
        write_npz(path, {"w": np.zeros(3)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.npz"]


def test_write_pth_without_torch_says_what_to_do(tmp_path):
    if torch_available():
        pytest.skip("torch is installed")
    with pytest.raises(FormatError, match="safetensors"):
        write_pth(tmp_path / "w.pth", {"w": np.ones(1)})


@pytest.mark.parametrize("options", [{}, {"use_zarr3": True}, {"use_ocdbt": False}])
def test_orbax_folders(tmp_path, options):
    import orbax.checkpoint as ocp

    kernel = numbers("bfloat16", 6).reshape(2, 3)
    tree = {
        "layer": {"kernel": jax.device_put(kernel), "empty": {}, "none": None},
        "list": [np.arange(3), np.eye(2)],
        "step": 7,
        "arch": "mlp",
    }
    with ocp.PyTreeCheckpointer(**options) as checkpointer:
        checkpointer.save(tmp_path / "good", tree)
    source = read(tmp_path / "good")
    assert source.format == "orbax"
    assert source.metadata == {"arch": "mlp"}
    assert set(source.tensors) == {"layer.kernel", "list.0", "list.1", "step"}
    assert_same(source.tensors["layer.kernel"], kernel)
    assert_same(source.tensors["list.0"], np.arange(3))
    assert_same(source.tensors["list.1"], np.eye(2))
    assert source.tensors["step"] == 7


def save_orbax(path, tree):
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)


def test_orbax_checksum_and_neighbours(tmp_path):
    save_orbax(tmp_path / "good", {"layer": {"w": np.ones(3, np.float32)}})
    before = read(tmp_path / "good")
    assert_same(before.tensors["layer.w"], np.ones(3, np.float32))
    (tmp_path / "good" / "note").write_text("x")
    assert read(tmp_path / "good").sha256 != before.sha256
    os.remove(tmp_path / "good" / "note")
    assert read(tmp_path / "good").sha256 == before.sha256
    save_orbax(tmp_path / "clash", {"a": {"b": np.ones(1)}, "a.b": np.zeros(1)})
    with pytest.raises(FormatError, match="named 'a.b'"):
        read(tmp_path / "clash")
    os.remove(tmp_path / "good" / "_METADATA")
    with pytest.raises(FormatError, match="without an Orbax checkpoint"):
        read(tmp_path / "good")


def test_orbax_manager_folders_point_to_a_step(tmp_path):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(tmp_path / "run") as manager:
        manager.save(3, args=ocp.args.StandardSave({"w": np.ones(3, np.float32)}))
    with pytest.raises(FormatError, match=r"CheckpointManager.*run/3"):
        read(tmp_path / "run")
    assert_same(read(tmp_path / "run" / "3").tensors["w"], np.ones(3, np.float32))


FOREIGN = {
    "model.onnx": (b"\x08\x07\x12\x07pytorch", "ONNX"),
    "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    "renamed.pth": (b"GGUF\x03\0\0\0", "GGUF"),
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(32), "TensorFlow Lite"),
    "array.npz": (b"\x93NUMPY\x01\0" + bytes(64), r"numpy\.savez"),
    "model.pkl": (b"\x80\x04\x95" + bytes(20), "pickle may run any code"),
    "old.tar": (bytes(257) + b"ustar" + bytes(250), "tar"),
    "empty.pth": (b"", "empty"),
    "noise.bin": (bytes(range(1, 200)), "no known format"),
    "model.msgpack": (b"\x81\xa6params", "msgpack"),
    "shards.index.json": (b'{"weight_map": {}}', "Give the folder"),
    "x.zip": (zip_container({}, {}, {"a.txt": b"x"}).replace(b"data.pkl", b"data.abc"), "zip"),
    "script.pt": (zip_container({}, {}, {"archive/constants.pkl": b"."}), "TorchScript"),
    "old.pt": (zip_container({}, {}, {"archive/code/a.py": b""}), "TorchScript"),
    "program.pt2": (zip_container({}, {}, {"archive/archive_format": b"pt2"}), "torch.export"),
    "m.keras": (
        zip_container({}, {}, {"model.weights.h5": b""}).replace(b".pkl", b".abc"),
        "lacks the zip entry 'config.json'",
    ),
}


@pytest.mark.parametrize("stem", ["code", "code/nested", "constants", "archive_format"])
def test_a_file_may_be_called_like_a_part_of_torchscript(tmp_path, stem):
    source = read_bytes(tmp_path, zip_container({"w": W}, {"0": bytes(8)}, stem=stem))
    assert list(source.tensors) == ["w"]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_named_with_the_way_that_works(tmp_path, name):
    data, words = FOREIGN[name]
    with pytest.raises(FormatError, match=words):
        read_bytes(tmp_path, data, name)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(FormatError, match="absent.pth does not exist"):
        read(tmp_path / "absent.pth")
    with pytest.raises(FormatError, match="without an Orbax checkpoint"):
        read(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(FormatError, match="SavedModel"):
        read(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FormatError, match="no regular file"):
            read(tmp_path / "pipe")


REAL = {
    "cifar_resnet20.th": ("module.conv1.weight", (16, 3, 3, 3), 97, 91.78),
    "cifar_resnet32.th": ("module.linear.weight", (10, 64), 157, 92.78),
    "mnist_lenet5.pt": ("convnet.c1.weight", (6, 1, 5, 5), 10, None),
}


@pytest.mark.parametrize("name", REAL)
def test_real_legacy_files(name):
    if not (SHARED / name).exists():
        pytest.skip("the shared data is absent")
    first, shape, count, best = REAL[name]
    source = read(SHARED / name)
    assert len(source.tensors) == count
    assert source.tensors[first].shape == shape
    assert source.metadata.get("best_prec1") == (best and pytest.approx(best, abs=1e-4))
    for tensor_name, array in source.tensors.items():
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        if tensor_name.endswith("running_var"):
            assert (array > 0).all()
