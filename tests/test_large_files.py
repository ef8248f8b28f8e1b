"""Large files: mapped and not copied, loaded in little memory, and never needed afterwards."""

import json
import mmap
import struct
import subprocess
import sys
import tracemalloc

import jax
import ml_dtypes
import numpy as np
import pytest
from formats_writer import container, tensor
from fuzz import mutated
from test_fuzz import write
from whole_files import KINDS, whole_files

from jgaprune import converters
from jgaprune.converters.formats import (
    FormatError,
    file_bytes,
    forget_array,
    read,
    write_npz,
    write_safetensors,
)
from jgaprune.converters.formats.safetensors_file import read_safetensors
from jgaprune.converters.leaves import describe_tensor, to_leaf
from jgaprune.converters.place import place, same_numbers

RNG = np.random.default_rng(0)


@pytest.fixture
def mapped(monkeypatch):
    """Every file is large."""
    monkeypatch.setattr(file_bytes, "MAPPED_BYTES", 1)


def weights(width, depth, dtype=np.float32):
    return {
        f"layers.{number}.weight": RNG.standard_normal((width, width), np.float32).astype(dtype)
        for number in range(depth)
    }


def write_zip(path, tensors):
    root = {
        name: tensor(name, str(array.dtype), array.size, array.shape)
        for name, array in tensors.items()
    }
    storages = {name: array.tobytes() for name, array in tensors.items()}
    path.write_bytes(container("zip", root, storages))


def owner_of(array):
    owner = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return owner


@pytest.mark.parametrize("kind", KINDS)
def test_mapped_files_are_read_as_small_ones_are(tmp_path, monkeypatch, kind):
    (tmp_path / "seeds").mkdir()
    for files in whole_files(kind, tmp_path / "seeds"):
        path = write(tmp_path / "f", files)
        monkeypatch.setattr(file_bytes, "MAPPED_BYTES", 2**24)
        plain = read(path)
        monkeypatch.setattr(file_bytes, "MAPPED_BYTES", 1)
        large = read(path)
        assert (plain.sha256, plain.metadata) == (large.sha256, large.metadata)
        assert list(plain.tensors) == list(large.tensors)
        for one, two in zip(plain.tensors.values(), large.tensors.values(), strict=True):
            assert (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


@pytest.mark.parametrize("save", [write_safetensors, write_npz, write_zip])
def test_large_files_are_opened_without_a_copy(tmp_path, save):
    save(tmp_path / "w", weights(1024, 5))
    tracemalloc.start()
    try:
        tensors = read(tmp_path / "w").tensors
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**22
    assert all(isinstance(owner_of(array), mmap.mmap) for array in tensors.values())
    assert not any(array.flags.writeable for array in tensors.values())


def test_a_directory_that_claims_to_be_large_takes_no_memory(tmp_path, mapped):
    write_zip(tmp_path / "w", weights(8, 2))
    data = bytearray((tmp_path / "w").read_bytes())
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<II", data, end + 12, 2**30, 0)
    for size, start in ((2**30, 0), (2**27, 2**27), (end, 0)):
        struct.pack_into("<II", data, end + 12, size, start)
        (tmp_path / "w").write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(FormatError):
                read(tmp_path / "w")
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


def test_forgotten_arrays_are_read_again(tmp_path, mapped):
    expected = weights(64, 2)
    write_safetensors(tmp_path / "w", expected)
    for name, array in read(tmp_path / "w").tensors.items():
        for part in (array, array[3:5], array[:, ::2], array[:0]):
            forget_array(part)
        assert array.tobytes() == expected[name].tobytes()
    forget_array(expected["layers.0.weight"])


@pytest.mark.parametrize("save", [write_safetensors, write_npz, write_zip])
def test_a_model_does_not_need_its_file(tmp_path, mapped, save):
    """Bytes that change in place would show in weights that are still views of the file."""
    path, given = tmp_path / "w", weights(32, 2)
    save(path, given)
    model = converters.load("mlp", path)
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    for number in range(2):
        kernel = model.params[f"layers.{number}.kernel"]
        assert (given[f"layers.{number}.weight"] == np.asarray(kernel).T).all()
    path.write_bytes(b"")
    jax.block_until_ready(model.apply(model.params, model.buffers, np.ones((1, 32), np.float32)))
    with pytest.raises(converters.ConversionError, match="is empty"):
        converters.to_source(model, model.params, model.buffers)


def test_what_goes_back_to_the_source_is_no_view_of_it(tmp_path, mapped):
    state = weights(8, 2) | {"layers.0.num_batches_tracked": np.array(3)}
    write_safetensors(tmp_path / "w", state)
    model = converters.load("mlp", tmp_path / "w")
    for array in converters.to_source(model, model.params, model.buffers).values():
        assert not isinstance(owner_of(array), mmap.mmap)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize(
    ("leaf", "shape", "flattened"),
    [
        ("a.kernel", (5, 7), None),
        ("a.kernel", (5, 3, 2, 4), None),
        ("a.kernel", (6, 24), (2, 3, 4)),
        ("a.kernel", (1, 1), None),
        ("a.bias", (9,), None),
        ("a.scale", (), None),
        ("a.kernel", (0, 3), None),
    ],
)
def test_blocks_place_what_the_leaf_rule_says(monkeypatch, leaf, shape, flattened, dtype):
    monkeypatch.setattr("jgaprune.converters.place._BLOCK_BYTES", 16)
    array = RNG.standard_normal(shape).astype(getattr(ml_dtypes, dtype, dtype))
    described = describe_tensor(leaf, "w", shape, dtype, flattened)
    tensors = {"w": array, "unused": array}
    (placed,) = place([described], tensors, "file")
    expected = to_leaf(array, described).astype(np.float32)
    assert placed.dtype == np.float32
    assert placed.shape == expected.shape
    assert np.array_equal(placed, expected)
    assert not tensors


def test_one_tensor_may_become_two_leaves():
    described = describe_tensor("a.kernel", "w", (2, 3), "float32", None)
    one, two = place([described, described], {"w": np.ones((2, 3), np.float32)}, "file")
    assert one.shape == two.shape == (3, 2)


def test_equal_numbers_are_found_in_blocks(monkeypatch):
    monkeypatch.setattr("jgaprune.converters.place._BLOCK_BYTES", 16)
    array = RNG.standard_normal((7, 5))
    other = array.copy()
    assert same_numbers(array, other)
    other[6, 4] += 1
    assert not same_numbers(array, other)
    assert not same_numbers(np.zeros((7, 5)), np.zeros((7, 5)))


def test_mutated_safetensors_are_read_as_the_library_reads_them(tmp_path):
    import safetensors

    whole, num_read = whole_files("safetensors", tmp_path), 0
    for number in range(300):
        data = mutated("safetensors", whole, number)[""]
        try:
            entries = dict(safetensors.deserialize(data))
        except safetensors.SafetensorError:
            with pytest.raises(FormatError):
                read_safetensors(data)
        else:
            tensors, _ = read_safetensors(data)
            num_read += 1
            assert {name: bytes(entry["data"]) for name, entry in entries.items()} == {
                name: array.tobytes() for name, array in tensors.items()
            }
    assert num_read > 20


MEASURE = """
import json, sys
from jgaprune import converters

def highest():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

converters.load("mlp", sys.argv[1])
before = highest()
kept = converters.load("mlp", sys.argv[2])
print(json.dumps(highest() - before))
"""
"""A process of its own; what a tiny file takes, imports included, is not counted."""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("save", "dtype"),
    [
        (write_safetensors, np.float32),
        (write_safetensors, ml_dtypes.bfloat16),
        (write_zip, np.float32),
        (write_zip, ml_dtypes.bfloat16),
        (write_npz, np.float32),
    ],
)
def test_loading_takes_little_more_than_twice_the_file(tmp_path, save, dtype):
    save(tmp_path / "tiny", weights(64, 2, dtype))
    save(tmp_path / "large", weights(1024, 64 // (4 * np.dtype(dtype).itemsize) * 4, dtype))
    size = (tmp_path / "large").stat().st_size
    assert size > 60e6
    command = [sys.executable, "-c", MEASURE, tmp_path / "tiny", tmp_path / "large"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    taken = json.loads(result.stdout)
    needed = size * 4 // np.dtype(dtype).itemsize
    assert needed / 2 < taken < min(2.2 * size, needed + 0.3 * size) + 8e6
