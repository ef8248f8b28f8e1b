"""Files that were made to do harm, and damaged ones: nothing but a FormatError may come out."""

import contextlib
import copyreg
import functools
import io
import json
import os
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
from formats_writer import (
    Raw,
    call,
    container,
    emit,
    legacy_container,
    named,
    ordered,
    pickled,
    storage,
    tensor,
    zip_container,
)

from jgaprune.converters.formats import FormatError, SourceFile, read, write_npz, write_safetensors

MARKER = "executed"


class Evil:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch():
    return f"echo > {MARKER}"


def hand_written():
    system = named(os.system.__module__, "system")
    command = emit(touch())
    mark_and_name = b"i" + f"{os.system.__module__}\nsystem\n".encode()
    getattr_call = call(named("builtins", "getattr"), named("os", "system"), "__call__")
    od = named("collections", "OrderedDict")
    return {
        "reduce": (call(system, touch()), "system"),
        "getattr": (call(getattr_call, touch()), "builtins.getattr"),
        "eval": (call(named("__builtin__", "eval"), "1"), "__builtin__.eval"),
        "stack global": (
            Raw(emit("posix") + emit("system") + b"\x93" + emit((touch(),)) + b"R"),
            "posix.system",
        ),
        "inst": (Raw(b"(" + command + mark_and_name), "system"),
        "obj": (Raw(b"(" + bytes(system) + command + b"o"), "system"),
        "obj of allowed": (Raw(b"(" + bytes(od) + b"o"), "opcode b'o'"),
        "inst of allowed": (Raw(b"(icollections\nOrderedDict\n"), "opcode b'i'"),
        "newobj": (Raw(bytes(system) + emit((touch(),)) + b"\x81"), "system"),
        "newobj ex": (Raw(bytes(od) + emit(()) + emit({}) + b"\x92"), "opcode b'\\\\x92'"),
        "setstate": (
            Raw(emit(call(od)) + emit({"__setstate__": system}) + b"b"),
            "system",
        ),
        "dotted name": (call(named("collections", "OrderedDict.__init__.__globals__")), "__glob"),
        "numpy load": (call(named("numpy", "load"), "x.npy"), "numpy.load"),
        "torch load": (call(named("torch", "load"), "x.pth"), "torch.load"),
        "module": (call(named("torch.nn.modules.linear", "Linear")), "whole pickled module"),
        "partial": (call(named("functools", "partial"), system), "functools.partial"),
        "calls a string": (Raw(emit("x") + emit(()) + b"R"), "calls a str"),
        "calls with a list": (Raw(bytes(od) + emit([]) + b"R"), "calls a Constructor"),
        "state of a list": (Raw(emit([]) + emit({"append": 1}) + b"b"), "state of a list"),
        "state of a name": (Raw(bytes(od) + emit({"build": 1}) + b"b"), "state of a Constructor"),
        "text persistent id": (Raw(b"Pstorage\n"), "opcode b'P'"),
        "persistent id": (Raw(emit("x") + b"Q"), "storage in an unknown way"),
        "module persistent id": (Raw(emit(("module", 1, "a", "b", 2)) + b"Q"), "unknown way"),
        "numpy object": (call(named("numpy", "dtype"), "O8", False, True), "no number"),
        "buffer": (Raw(b"\x97"), "opcode b'\\\\x97'"),
    }


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("name", hand_written())
def test_hand_written_attacks_are_refused(tmp_path, monkeypatch, kind, name):
    monkeypatch.chdir(tmp_path)
    attack, words = hand_written()[name]
    root = {"state_dict": {"w": tensor("0", "float32", 1, (1,))}, "extra": attack}
    (tmp_path / "w.pth").write_bytes(container(kind, root, {"0": bytes(4)}))
    with pytest.raises(FormatError, match=words):
        read("w.pth")
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("protocol", range(6))
def test_python_made_attacks_are_refused(tmp_path, monkeypatch, kind, protocol):
    monkeypatch.chdir(tmp_path)
    attacks = [
        Evil(os.system, touch()),
        {"state_dict": Evil(eval, f"__import__('os').system({touch()!r})")},
        Evil(functools.partial, os.system, touch()),
        Evil(getattr, Evil(__import__, "os"), "system"),
    ]
    for attack in attacks:
        raw = pickle.dumps(attack, protocol)
        (tmp_path / "w.pth").write_bytes(container(kind, raw, {}))
        with pytest.raises(FormatError):
            read("w.pth")
        assert not (tmp_path / MARKER).exists()


def test_the_attack_would_work_on_pickle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Evil(os.system, touch())))
    assert (tmp_path / MARKER).exists()


def test_registered_copyreg_extensions_are_refused(tmp_path):
    copyreg.add_extension("os", "system", 77)
    try:
        for opcode in (b"\x82\x4d", b"\x83\x4d\0", b"\x84\x4d\0\0\0"):
            (tmp_path / "w.pth").write_bytes(zip_container({"a": Raw(opcode)}, {}))
            with pytest.raises(FormatError, match="copyreg"):
                read(tmp_path / "w.pth")
    finally:
        copyreg.remove_extension("os", "system", 77)


def test_state_of_a_dict_sets_nothing(tmp_path):
    hostile = {"keys": 1, "__class__": "x", "w": 5}
    root = Raw(emit({"w": tensor("0", "float32", 1, (1,))}) + emit(hostile) + b"b")
    (tmp_path / "w.pth").write_bytes(zip_container(root, {"0": bytes(4)}))
    source = read(tmp_path / "w.pth")
    assert source.metadata == {}
    assert source.tensors["w"].tolist() == [0.0]


def view(shape, strides=None, offset=0, num_items=4):
    return tensor("0", "float32", num_items, shape, strides, offset)


BAD_VIEWS = {
    "too long": (view((5,)), "needs 5 items"),
    "offset": (view((4,), (1,), 1), "needs 5 items"),
    "stride": (view((2, 2), (3, 1)), "needs 5 items"),
    "negative size": (view((-1,), (1,)), "natural"),
    "negative stride": (view((2,), (-1,), 1), "natural"),
    "negative offset": (view((1,), (1,), -1), "natural"),
    "boolean size": (view((True,), (1,)), "natural"),
    "float size": (view((1.0,), (1,)), "natural"),
    "text size": (view("a", (1,)), "unreadable"),
    "dimensions": (view((1,) * 99, (1,) * 99), "over 32"),
    "fewer strides": (view((2, 2), (1,)), "strides"),
    "huge size": (view((2**62, 2**62), (0, 0)), "exhaust memory"),
    "expanded bomb": (view((2**33,), (0,)), "exhaust memory"),
    "huge empty": (view((0, 2**62, 2**62), (1, 1, 1)), "damaged"),
    "declared size": (view((4,), (1,), 0, 5), "declares 20 bytes"),
    "no storage": (call(named("torch._utils", "_rebuild_tensor_v2"), 1, 0, (), ()), "without"),
    "no type": (
        call(
            named("torch._utils", "_rebuild_tensor_v3"),
            *(storage("0", "float32", 4), 0, (4,), (1,), False, {}, "float32"),
        ),
        "without",
    ),
    "missing storage": (tensor("absent", "float32", 4, (4,)), "(lacks|damaged)"),
    "path trick": (tensor("../../data.pkl", "float32", 4, (4,)), "(lacks|damaged)"),
}


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("name", BAD_VIEWS)
def test_views_outside_their_storage_are_refused(tmp_path, kind, name):
    attack, words = BAD_VIEWS[name]
    with pytest.raises(FormatError, match=words):
        read_bytes(tmp_path, container(kind, {"w": attack}, {"0": bytes(16)}))


@pytest.mark.parametrize("tail", [b"X\xff\0\0\0w", b"\x8e" + b"\xff" * 8, b"B\xff\xff\xff\xff"])
def test_pickles_that_end_early_are_refused(tmp_path, tail):
    with pytest.raises(FormatError, match="ends inside its pickle"):
        read_bytes(tmp_path, zip_container(b"\x80\x02}" + tail, {}))


def nested(depth, leaf=b")"):
    return Raw(leaf + b"\x85" * depth)


SLOW_TO_HASH = Raw(b")" + b"2\x86" * 60)
"""A pair of the same pair, 60 levels deep: hashing it would never end."""


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("root", "accepted"),
    [
        ({"w": view((4,)), "deep": nested(200_000)}, True),
        ({"w": view((4,)), "self": Raw(b"]q\x01h\x01a")}, True),
        (Raw(b"}q\x01X\x05\0\0\0modelh\x01s"), False),
        (Raw(b"}" + bytes(SLOW_TO_HASH) + b"Ns"), False),
        (Raw(b"\x8f(" + bytes(SLOW_TO_HASH) + b"\x90"), False),
        (Raw(b"(" + bytes(SLOW_TO_HASH) + b"\x91"), False),
        (Raw(b"K\x01r\xff\xff\xff\xff"), False),
        (Raw(b"B\xff\xff\xff\xff"), False),
        (Raw(b"\x8e" + b"\xff" * 8), False),
        (Raw(b"}}Ns"), False),
        (Raw(b"tttt"), False),
    ],
    ids=str.split("deep self loop key add frozen memo bytes4 bytes8 dictkey marks"),
)
def test_structures_that_exhaust_naive_readers(tmp_path, kind, root, accepted):
    (tmp_path / "w.pth").write_bytes(container(kind, root, {"0": bytes(16)}))
    start = time.process_time()
    if accepted:
        assert list(read(tmp_path / "w.pth").tensors) == ["w"]
    else:
        with pytest.raises(FormatError):
            read(tmp_path / "w.pth")
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "keys",
    [Raw(b"]" + bytes(SLOW_TO_HASH) + b"a"), [[]], ("0",), "0", {"0": 0}, [0]],
    ids=str.split("slow list tuple text dict number"),
)
def test_keys_of_legacy_storages_are_texts(tmp_path, keys):
    start = time.process_time()
    with pytest.raises(FormatError, match="no text"):
        read_bytes(tmp_path, legacy_container({"w": view((4,))}, {"0": bytes(16)}, keys=keys))
    assert time.process_time() - start < 5


LONG = 300_000


def repeated(function, argument, times=300):
    """Calls a name with one memoised argument, again and again."""
    again = b"h\x01h\x02R0"
    head = bytes(function) + b"q\x010" + emit(argument) + b"\x85q\x020"
    return Raw(head + again * times + b"N")


AMPLIFIERS = {
    "size": (named("torch", "Size"), [1] * 33, "over 32"),
    "size of bytes": (named("torch", "Size"), Raw(b"B\xe0\x93\4\0" + bytes(LONG)), "unreadable"),
    "size of texts": (named("torch", "Size"), ["1"], "natural"),
    "dict": (named("collections", "OrderedDict"), dict.fromkeys(range(LONG)), "over and over"),
    "set": (named("builtins", "set"), list(range(LONG)), "over and over"),
    "set of bytes": (named("builtins", "set"), Raw(b"B\xe0\x93\4\0" + bytes(LONG)), "over and"),
    "text": (named("builtins", "bytes"), "x" * LONG, "over and over"),
    "device": (named("torch", "device"), "x" * LONG, "over and over"),
}


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("name", AMPLIFIERS)
def test_calls_that_multiply_a_memoised_value_are_refused(tmp_path, kind, name):
    function, argument, words = AMPLIFIERS[name]
    root = {"w": view((4,)), "much": repeated(function, argument)}
    with pytest.raises(FormatError, match=words):
        read_bytes(tmp_path, container(kind, root, {"0": bytes(16)}))


def test_calls_with_many_memoised_arguments_are_refused(tmp_path):
    """Each call unpacks its arguments, even where it drops them."""
    head = bytes(named("torch._utils", "_rebuild_parameter")) + b"q\x010"
    arguments = emit((view((4,)), *[0] * LONG)) + b"q\x020"
    root = {"w": view((4,)), "much": Raw(head + arguments + b"h\x01h\x02R0" * 300 + b"N")}
    with pytest.raises(FormatError, match="over and over"):
        read_bytes(tmp_path, zip_container(root, {"0": bytes(16)}))


def test_a_large_set_written_out_is_no_attack(tmp_path):
    root = {"w": view((4,)), "seen": call(named("builtins", "set"), list(range(LONG)))}
    assert list(read_bytes(tmp_path, zip_container(root, {"0": bytes(16)})).tensors) == ["w"]


def with_declared_size(data, size):
    """Change the uncompressed size of the last entry, in both headers."""
    data = bytearray(data)
    local, central = data.rfind(b"PK\x03\x04"), data.rfind(b"PK\x01\x02")
    struct.pack_into("<I", data, local + 22, size)
    struct.pack_into("<I", data, central + 24, size)
    return bytes(data)


def test_zip_tricks_are_refused(tmp_path):
    root = {"w": view((4,))}
    plain = zip_container(root, {"0": bytes(16)}, compression=zipfile.ZIP_DEFLATED)
    encrypted = bytearray(plain)
    encrypted[encrypted.rfind(b"PK\x01\x02") + 8] |= 1
    with pytest.warns(UserWarning, match="Duplicate"):
        doubled = zip_container(root, {"0": bytes(16)}, {"archive/data/0": bytes(16)})
    stored = zip_container(root, {}, {"archive/data/0": bytes(16)})
    cases = {
        "exhaust memory": with_declared_size(plain, 2**31),
        "encrypted": bytes(encrypted),
        "two zip entries": doubled,
        "unusually compressed": zip_container(root, {}, compression=zipfile.ZIP_BZIP2),
        "2 pickles": zip_container(root, {}, {"other/data.pkl": b"N."}),
        "byte order": zip_container(root, {}, {"archive/byteorder": b"middle"}),
        "declares 16 bytes": zip_container(root, {"0": bytes(20)}),
        "two sizes differ": with_declared_size(stored, 15),
    }
    for words, data in cases.items():
        (tmp_path / "w.pth").write_bytes(data)
        with pytest.raises(FormatError, match=words):
            read(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(plain)
    assert read(tmp_path / "w.pth").tensors["w"].shape == (4,)


def test_legacy_storages_must_agree(tmp_path):
    twice = {"a": view((4,)), "b": tensor("0", "int32", 4, (4,))}
    with pytest.raises(FormatError, match="declares a storage twice"):
        read_bytes(tmp_path, legacy_container(twice, {"0": bytes(16)}))
    with pytest.raises(FormatError, match="declares 16 bytes"):
        read_bytes(tmp_path, legacy_container({"a": view((4,))}, {"0": bytes(12)}))
    data = legacy_container({"a": view((4,))}, {"0": bytes(16)})
    with pytest.raises(FormatError, match="truncated"):
        read_bytes(tmp_path, data[:-1])


def read_bytes(folder, data):
    (folder / "w.bin").write_bytes(data)
    return read(folder / "w.bin")


def npz_bytes(raw):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("w.npy", raw)
    return buffer.getvalue()


def test_npz_tricks_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("o.npz", w=np.array([Evil(os.system, touch())], dtype=object))
    with pytest.raises(FormatError, match="pickled Python object"):
        read("o.npz")
    assert not (tmp_path / MARKER).exists()
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }\n"
    huge = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header
    with pytest.raises(FormatError, match="declares 399999999996 bytes"):
        read_bytes(tmp_path, npz_bytes(huge))
    with pytest.raises(FormatError, match="no NumPy array"):
        read_bytes(tmp_path, npz_bytes(b"text"))
    np.savez("v.npz", w=np.zeros(3, "V2"))
    with pytest.raises(FormatError, match="bfloat16 as .safetensors"):
        read("v.npz")


def test_safetensors_tricks_are_refused(tmp_path):
    def file(header):
        return struct.pack("<Q", len(header)) + header + bytes(16)

    outside = b'{"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}'
    overlap = (
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
        b'"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    )
    for header in (outside, overlap, b"{" + b"[" * 50_000, b'{"w":3}'):
        with pytest.raises(FormatError, match="damaged"):
            read_bytes(tmp_path, file(header))
    entry = b'{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
    for header, words in (
        (b'{"w":' + entry + b',"w":' + entry + b"}", "two values named 'w'"),
        (b'{"w":' + entry.replace(b"4", b"4.0") + b"}", "no list of sizes"),
        (b'{"w":' + entry.replace(b"4", b"2,-2,-1") + b"}", "no list of sizes"),
        (b'{"w":' + entry.replace(b"4", b"4" + b",1" * 99) + b"}", "over 64 axes"),
        (b'{"w":' + entry.replace(b"4", b"3") + b"}", "'w' of 12 bytes lies at 0 to 16"),
        (b'{"w":' + entry.replace(b"[0,16]", b"[4,16]") + b"}", "expected from 0 on"),
        (b'{"w":' + entry.replace(b"16", b"12").replace(b"4", b"3") + b"}", "end at 12 of 16"),
        (b'{"w":' + entry.replace(b"shape", b"form") + b"}", "does not say"),
        (b'{"__metadata__":{"a":1},"w":' + entry + b"}", "not text"),
    ):
        with pytest.raises(FormatError, match=words):
            read_bytes(tmp_path, file(header))
    with pytest.raises(FormatError, match="longer than the file"):
        (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{" + bytes(16))
        read(tmp_path / "x.safetensors")
    unknown = b'{"w":{"dtype":"F8_E8M0","shape":[16],"data_offsets":[0,16]}}'
    with pytest.raises(FormatError, match="F8_E8M0"):
        read_bytes(tmp_path, file(unknown))


def fuzz_seeds(folder):
    array = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    root = {
        "epoch": 1,
        "state_dict": ordered(
            {f"layer{i}.w": tensor(str(i), "float32", 64, (8, 8), (1, 8)) for i in range(3)}
        ),
    }
    storages = {str(i): array.tobytes() for i in range(3)}
    write_safetensors(folder / "s", {"a": array, "b": array.reshape(8, 8)}, {"k": "v"})
    write_npz(folder / "n", {"a": array, "b": array.reshape(8, 8)})
    packed = zip_container(root, storages, compression=zipfile.ZIP_DEFLATED)
    return {
        "zip": zip_container(root, storages),
        "deflated": packed,
        "legacy": legacy_container(root, storages),
        "safetensors": (folder / "s").read_bytes(),
        "npz": (folder / "n").read_bytes(),
    }


def damaged(data, rng):
    """Truncate, flip bits, or overwrite bytes."""
    raw = bytearray(data)
    if rng.random() < 0.2:
        return bytes(raw[: rng.integers(len(raw))])
    for _ in range(rng.integers(1, 4)):
        position = int(rng.integers(len(raw)))
        raw[position] = (
            rng.integers(256) if rng.random() < 0.5 else raw[position] ^ (1 << rng.integers(8))
        )
    return bytes(raw)


@pytest.mark.parametrize("kind", ["zip", "deflated", "legacy", "safetensors", "npz"])
def test_damaged_files_raise_only_format_errors(tmp_path, kind):
    rng = np.random.default_rng(1)
    data = fuzz_seeds(tmp_path)[kind]
    assert isinstance(read_bytes(tmp_path, data), SourceFile)
    refused = 0
    for _ in range(300):
        start = time.process_time()
        try:
            read_bytes(tmp_path, damaged(data, rng))
        except FormatError:
            refused += 1
        assert time.process_time() - start < 5
    assert refused > 50


def test_damaged_pickles_raise_only_format_errors(tmp_path):
    """The checksum of a zip hides its pickle from plain fuzzing, so damage comes before it."""
    rng = np.random.default_rng(2)
    root = {"state_dict": ordered({"w": view((2, 2)), "n": 1}), "opt": {0: [1.5, "x", None]}}
    raw = pickled(root)
    assert isinstance(read_bytes(tmp_path, zip_container(raw, {"0": bytes(16)})), SourceFile)
    refused = 0
    for _ in range(1000):
        broken = damaged(raw, rng)
        try:
            read_bytes(tmp_path, zip_container(broken, {"0": bytes(16)}))
        except FormatError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("key", ["../w", "/etc", "a/../../w", "..\\w", "\\\\host\\w"])
def test_orbax_names_that_lead_out_of_the_folder_are_refused(tmp_path, key):
    import orbax.checkpoint as ocp

    folder = tmp_path / "checkpoint"
    with ocp.PyTreeCheckpointer(use_ocdbt=False) as checkpointer:
        checkpointer.save(folder, {"w": np.ones(3, np.float32)})
    text = (folder / "_METADATA").read_text()
    changed = text.replace('"key": "w"', f'"key": {json.dumps(key)}')
    assert changed != text
    (folder / "_METADATA").write_text(changed)
    (folder / "w").rename(tmp_path / "w")
    with pytest.raises(FormatError, match="leads out of the folder"):
        read(folder)


@pytest.mark.parametrize("name", ["w", "step"])
@pytest.mark.parametrize("change", [{"shape": [2**40]}, {"chunks": [2**40]}])
def test_orbax_arrays_larger_than_their_folder_are_refused(tmp_path, name, change):
    import orbax.checkpoint as ocp

    folder = tmp_path / "checkpoint"
    with ocp.PyTreeCheckpointer(use_ocdbt=False) as checkpointer:
        checkpointer.save(folder, {"w": np.ones(3, np.float32), "step": 7})
    assert read(folder).tensors["w"].shape == (3,)
    header = json.loads((folder / name / ".zarray").read_text())
    one_axis = {"shape": [3], "chunks": [3]}
    (folder / name / ".zarray").write_text(json.dumps(header | one_axis | change))
    with pytest.raises(FormatError, match="exhaust memory"):
        read(folder)


def test_damaged_orbax_folders_raise_only_format_errors(tmp_path):
    import orbax.checkpoint as ocp

    folder = tmp_path / "checkpoint"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, {"a": np.ones((8, 8), np.float32), "b": np.arange(3)})
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = np.random.default_rng(3)
    for path in files * 3:
        original = path.read_bytes()
        if original:
            path.write_bytes(damaged(original, rng))
        with contextlib.suppress(FormatError):
            assert isinstance(read(folder), SourceFile)
        path.write_bytes(original)
    assert read(folder).tensors["b"].tolist() == [0, 1, 2]
