"""Hugging Face folders: what is read, in which order, and that every fault is named at once."""

import json
import os
import struct
import time

import numpy as np
import pytest
from formats_writer import tensor, zip_container

from jgaprune.converters.formats import FormatError, read, write_safetensors
from jgaprune.converters.formats.json_text import MAX_JSON_BYTES

CONFIG = {"model_type": "llama", "hidden_size": 4}
SHARDS = {
    "model-00001-of-00002.safetensors": {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(2)},
    "model-00002-of-00002.safetensors": {"c": np.full((3,), 7, np.int32)},
}


def sharded(folder, shards=SHARDS, weight_map=None):
    """A folder with an index that is right, or says what `weight_map` says."""
    right = {name: shard for shard, tensors in shards.items() for name in tensors}
    index = {"metadata": {}, "weight_map": right if weight_map is None else weight_map}
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for shard, tensors in shards.items():
        write_safetensors(folder / shard, tensors, {"format": "pt"})
    return right


def whole(folder):
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_safetensors(folder / "model.safetensors", SHARDS["model-00001-of-00002.safetensors"])


def pth(name, values):
    values = np.asarray(values, np.float32)
    root = {name: tensor("0", "float32", values.size, values.shape)}
    return zip_container(root, {"0": values.tobytes()})


def refusal(folder):
    with pytest.raises(FormatError) as caught:
        read(folder)
    return str(caught.value)


def test_one_file_with_its_config(tmp_path):
    whole(tmp_path)
    source = read(tmp_path)
    assert (source.format, source.path, source.config) == ("hf", str(tmp_path), CONFIG)
    assert source.tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_shards_are_joined_in_their_order(tmp_path):
    sharded(tmp_path)
    source = read(tmp_path)
    assert list(source.tensors) == ["a", "b", "c"]
    assert source.tensors["c"].dtype == np.int32
    assert source.metadata == {"format": "pt"}
    assert source.config == CONFIG


def test_a_folder_without_a_config_has_none(tmp_path):
    whole(tmp_path)
    (tmp_path / "config.json").unlink()
    assert read(tmp_path).config is None


def test_pickled_weights_come_second(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(pth("w", [1, 2]))
    assert read(tmp_path).tensors["w"].tolist() == [1, 2]
    whole(tmp_path)
    assert "a" in read(tmp_path).tensors


def test_pickled_shards(tmp_path):
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    for name, key in zip(names, "vw", strict=True):
        (tmp_path / name).write_bytes(pth(key, [1, 2]))
    index = {"weight_map": dict(zip("vw", names, strict=True))}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert list(read(tmp_path).tensors) == ["v", "w"]
    write_safetensors(tmp_path / names[1], {"w": np.ones(2)})
    assert "is a safetensors file where a pth file is expected" in refusal(tmp_path)


def test_the_checksum_covers_what_is_read_and_nothing_else(tmp_path):
    sharded(tmp_path)
    before = read(tmp_path).sha256
    (tmp_path / "README.md").write_text("more")
    assert read(tmp_path).sha256 == before
    for name in os.listdir(tmp_path):
        path = tmp_path / name
        kept = path.read_bytes()
        path.write_bytes(kept.replace(b"llama", b"lama!").replace(b"pt", b"tp") + b" ")
        changed = name != "README.md"
        try:
            assert (read(tmp_path).sha256 != before) == changed, name
        except FormatError:
            assert changed
        path.write_bytes(kept)
    assert read(tmp_path).sha256 == before


def test_every_fault_of_the_index_is_named_at_once(tmp_path):
    right = sharded(tmp_path)
    first, second = SHARDS
    wrong = {
        "a": second,
        "gone": first,
        "x": "model-3.safetensors",
        "y": "../y.safetensors",
        "z": 3,
    }
    sharded(tmp_path, weight_map=right | wrong)
    write_safetensors(tmp_path / "model-00009-of-00009.safetensors", {"q": np.ones(1)})
    text = refusal(tmp_path)
    for words in (
        "missing files: 'model-3.safetensors'",
        "'../y.safetensors', 3",
        "not in their shard: 'a' (model-00002-of-00002.safetensors), 'gone' (model-00001-",
        "shards that the index lacks: model-00009-of-00009.safetensors",
    ):
        assert words in text


def test_tensors_in_two_shards_and_in_no_index_are_named(tmp_path):
    first, second = SHARDS
    twice = {first: SHARDS[first], second: {"b": np.zeros(2), "new": np.zeros(2)}}
    sharded(tmp_path, twice, {"a": first, "b": second})
    text = refusal(tmp_path)
    assert f"in several shards: 'b' ({first}, {second})" in text
    assert f"the index lacks: 'new' ({second})" in text


def test_damaged_shards_are_all_named(tmp_path):
    sharded(tmp_path)
    for name in SHARDS:
        (tmp_path / name).write_bytes(struct.pack("<Q", 5) + b"{nope")
    (tmp_path / "config.json").write_text("[1]")
    text = refusal(tmp_path)
    for name in SHARDS:
        assert f"{name} is a damaged .safetensors file" in text
    assert "config.json is a JSON list where an object is expected" in text


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd.safetensors", "sub/x.safetensors", "..\\x.safetensors", "c:x.safetensors", "..",
     "", "x\0.safetensors", "model.bin", "x" * 100_000],
)  # fmt: skip
def test_paths_in_an_index_are_refused(tmp_path, name):
    sharded(tmp_path, weight_map={"a": name})
    text = refusal(tmp_path)
    assert "lists what is no name of a .safetensors file beside it" in text
    assert len(text) < 3000


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_links_out_of_the_folder_and_in_circles_are_refused(tmp_path, name):
    (outside := tmp_path / "outside").mkdir()
    (folder := tmp_path / "folder").mkdir()
    whole(outside)
    whole(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(outside / name)
    assert f"{name} is a link out of the folder" in refusal(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(folder / name)
    assert f"{name} is no regular file" in refusal(folder)


def test_links_inside_the_folder_and_into_the_hub_cache_are_followed(tmp_path):
    (blobs := tmp_path / "blobs").mkdir()
    (snapshot := tmp_path / "snapshots" / "0a1b").mkdir(parents=True)
    whole(blobs)
    for name in ("model.safetensors", "config.json"):
        (snapshot / name).symlink_to(os.path.join("..", "..", "blobs", name))
    assert read(snapshot).config == CONFIG
    (blobs / "inner.safetensors").symlink_to("model.safetensors")
    (blobs / "model.safetensors").rename(blobs / "x")
    (blobs / "inner.safetensors").rename(blobs / "model.safetensors")
    (blobs / "model.safetensors").unlink()
    (blobs / "model.safetensors").symlink_to("x")
    assert list(read(blobs).tensors) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "two values named 'a'"),
        ("{" + '"a":{' * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "damaged"),
        ("\xff", "damaged"),
        (" " * (MAX_JSON_BYTES + 1), "bytes long"),
        ("", "damaged"),
    ],
)
def test_bad_json_is_refused(tmp_path, text, words):
    whole(tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="latin1")
    assert words in refusal(tmp_path)
    sharded(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="latin1")
    assert words in refusal(tmp_path)


def test_a_key_twice_among_many_is_found_at_once(tmp_path):
    whole(tmp_path)
    many = "".join(f'"{number}":0,' for number in range(300_000))
    (tmp_path / "config.json").write_text("{" + many + '"299999":0}')
    start = time.process_time()
    assert "two values named '299999'" in refusal(tmp_path)
    assert time.process_time() - start < 5


def test_indices_without_a_map_are_refused(tmp_path):
    for weight_map in ({}, [], "x"):
        sharded(tmp_path, weight_map=weight_map)
        assert "has no weight_map" in refusal(tmp_path)


def test_a_pointer_of_git_lfs_is_explained(tmp_path):
    whole(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refusal(tmp_path)
