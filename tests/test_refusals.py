"""What isn't read is named, by its content and whatever it is called, with the way that works."""

import json
import pickle
import re
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from formats_writer import call, named, tensor, zip_container

from jgaprune.cli import main
from jgaprune.converters import ConversionError, load
from jgaprune.converters.formats import FormatError, read, write_npz, write_safetensors
from jgaprune.converters.formats.protobuf import top_level_fields
from jgaprune.demo import WEIGHTS as DIGITS

ONNX = b"\x08\x0e\x12\x07pytorch:\x04\x12\x02gr"
ONNX_AS_TORCH_NAMES_OPERATORS = b"\x08\x08B\x04\n\x00\x10\x11"
SAVED_MODEL = b"\x08\x01\x12\x05\n\x03abc"
TABLE = bytes(60) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
BYTECODE = b"ML\xefR\rStableHLO_v1.15.0\x00\x01\x1b"
TEXT = b'#loc1 = loc("x")\n// made by hand\nmodule @jit__lambda attributes {a = 1 : i32} {\n}\n'
SKLEARN = pickle.dumps({"a": 1}, 4).replace(b"a\x94", b"a\x94\x8c\x0fsklearn.neural_")


def archive(*entries):
    """A zip file with entries of these names."""
    return zip_container({}, {}, {f"archive/{name}": b"." for name in entries})


FILES = {
    "ONNX": (ONNX, r"an ONNX file.*torch\.save\(model\.state_dict\(\)"),
    "ONNX without a name": (ONNX_AS_TORCH_NAMES_OPERATORS, "an ONNX file"),
    "StableHLO": (BYTECODE, r"MLIR bytecode \(StableHLO\).*numpy\.savez"),
    "MLIR": (TEXT, r"MLIR text.*Save the parameters where it was made"),
    "jax.export": (b"<\0\0\x008\0" + bytes(250) + BYTECODE, r"saved by jax\.export.*numpy\.savez"),
    "TorchScript": (archive("constants.pkl"), r"TorchScript.*torch\.jit\.load\(path\)\.state_dict"),
    "pt2": (archive("archive_format"), r"torch\.export\.load\(path\)\.state_dict"),
    "old pt2": (archive("serialized_exported_program.json"), "saved by torch.export"),
    "torch.package": (archive(".data/extern_modules"), r"torch\.package.*module\.state_dict\(\)"),
    "SavedModel": (SAVED_MODEL, r"a TensorFlow graph.*tf\.train\.load_checkpoint"),
    "checkpoint": (TABLE, r"a part of a TensorFlow checkpoint.*tf\.train\.load_checkpoint"),
    "TFLite": (b"\x1c\0\0\0TFL3" + bytes(32), r"TensorFlow Lite.*numpy\.savez"),
    "ExecuTorch": (b"\x1c\0\0\0ET12" + bytes(32), "ExecuTorch"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(32), r"GGUF.*quantised.*\.safetensors"),
    "GGML": (b"tjgg\x03\0\0\0" + bytes(32), r"GGML.*quantised.*\.safetensors"),
    "scikit-learn": (SKLEARN, r"scikit-learn.*enumerate\(model\.coefs_\)"),
    "joblib": (zlib.compress(SKLEARN), r"scikit-learn.*enumerate\(model\.coefs_\)"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "pickle": (pickle.dumps({"a": 1}, 4), "a plain Python pickle.*may run any code"),
}
NAMES = {
    "weights.distcp": (archive("x"), "dcp_to_torch"),
    "weights.data-00000-of-00001": (bytes(range(1, 99)), "a part of a TensorFlow checkpoint"),
    "weights.onnx": (bytes(range(1, 99)), "ONNX"),
    "weights.mlir": (b"func.func @main() {}", "MLIR text"),
}


def words_of(path):
    with pytest.raises(FormatError) as caught:
        read(path)
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize("name", ["weights", "weights.bin", "weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("kind", FILES)
def test_foreign_files_are_known_by_their_content(tmp_path, kind, name):
    data, words = FILES[kind]
    (tmp_path / name).write_bytes(data)
    assert re.search(words, words_of(tmp_path / name)), words_of(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_signature_is_known_by_its_name(tmp_path, name):
    data, words = NAMES[name]
    (tmp_path / name).write_bytes(data)
    assert re.search(words, words_of(tmp_path / name)), words_of(tmp_path / name)


FOLDERS = {
    "SavedModel": (["saved_model.pb", "fingerprint.pb"], r"SavedModel.*load_checkpoint\('.*/w/var"),
    "text SavedModel": (["saved_model.pbtxt"], "TensorFlow SavedModel"),
    "checkpoint": (
        ["checkpoint", "model.index", "model.data-00000-of-00001"],
        r"a TensorFlow checkpoint.*load_checkpoint\('.*/w/model'\)",
    ),
    "FSDP": ([".metadata", "__0_0.distcp"], r"torch\.distributed.*dcp_to_torch /.*/w weights\.pth"),
    "DeepSpeed": (["latest", "zero_to_fp32.py"], r"DeepSpeed.*zero_to_fp32\.py /.*/w OUT"),
    "DeepSpeed's step": (
        ["zero_pp_rank_0_mp_rank_00_optim_states.pt", "mp_rank_00_model_states.pt"],
        "DeepSpeed",
    ),
    "adapter": (["adapter_config.json", "adapter_model.safetensors"], "merge_and_unload"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_foreign_folders_are_known_by_what_is_in_them(tmp_path, kind):
    names, words = FOLDERS[kind]
    (tmp_path / "w").mkdir()
    for name in names:
        (tmp_path / "w" / name).write_bytes(b"x")
    assert re.search(words, words_of(tmp_path / "w")), words_of(tmp_path / "w")


PICKLED = {
    "module of torch": ("torch.nn.modules.container", "Sequential", "whole pickled module"),
    "module of a script": ("__main__", "Net", r"whole pickled module.*module\.state_dict\(\)"),
    "module of a package": ("mypkg.models", "Net", "an object of a class, such as a whole module"),
    "settings": ("argparse", "Namespace", "or settings of a training.*weights_only=False"),
    "quantised tensor": ("torch._utils", "_rebuild_qtensor", "quantised tensors.*bfloat16"),
    "quantised type": ("torch", "quint8", "quantised tensors"),
    "quantised storage": ("torch", "QUInt4x2Storage", "quantised tensors"),
    "quantised layer": ("torch.ao.nn.quantized.modules", "Linear", "quantised tensors"),
    "other tensors": ("torch._utils", "_rebuild_sparse_tensor", "only plain tensors"),
}


@pytest.mark.parametrize("kind", PICKLED)
def test_pickles_of_more_than_tensors_say_what_they_hold(tmp_path, kind):
    module, name, words = PICKLED[kind]
    root = {"w": tensor("0", "float32", 1, (1,)), "extra": call(named(module, name))}
    (tmp_path / "w.pth").write_bytes(zip_container(root, {"0": bytes(4)}))
    told = words_of(tmp_path / "w.pth")
    assert re.search(words, told), told
    assert f"'{module}.{name}'" in told
    assert "Nothing was executed" in told


def layer(**tensors):
    return {"layers.0.bias": np.zeros(4, np.float32)} | {
        f"layers.0.{name.replace('__', '.')}": array for name, array in tensors.items()
    }


FLOATS, BYTES = np.ones((4, 4), np.float32), np.ones((4, 4), np.uint8)
QUANTISED = {
    "GPTQ": (layer(qweight=BYTES.astype(np.int32), qzeros=BYTES.astype(np.int32)), "GPTQ or AWQ"),
    "LLM.int8": (layer(weight=BYTES.astype(np.int8), SCB=FLOATS), "by bitsandbytes"),
    "NF4": (layer(weight=BYTES, weight__absmax=FLOATS), "by bitsandbytes: layers.0.weight.absmax"),
    "NF4's state": (layer(weight__quant_state__bitsandbytes__nf4=BYTES), "by bitsandbytes"),
    "compressed": (layer(weight_packed=BYTES, weight_scale=FLOATS), "compressed-tensors"),
    "FP8": (layer(weight=FLOATS, weight_scale_inv=FLOATS), "FP8 with scales"),
    "HQQ": (layer(W_q=BYTES), "by HQQ"),
    "torch.ao": (layer(_packed_params__dtype=BYTES), "by torch.ao"),
    "bytes": (layer(weight=BYTES), "its weights are bytes: layers.0.weight"),
}


@pytest.mark.parametrize("kind", QUANTISED)
@pytest.mark.parametrize("arch", ["auto", "mlp"])
def test_quantised_checkpoints_are_named(tmp_path, kind, arch):
    tensors, words = QUANTISED[kind]
    write_safetensors(tmp_path / "w.safetensors", tensors)
    with pytest.raises(ConversionError, match=f"the model is quantised.*{words}.*dequantize"):
        load(arch, tmp_path / "w.safetensors")


def test_a_configuration_that_says_quantised_is_believed(tmp_path):
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_safetensors(tmp_path / "model.safetensors", {"w": np.ones((3, 3), np.float32)})
    with pytest.raises(ConversionError, match="quantised, by 'gptq'.*remove quantization_config"):
        load("auto", tmp_path)


def test_names_that_hold_what_was_asked_for_come_first():
    with pytest.raises(ConversionError, match=r"Nearest: cifar_resnet20\b"):
        load("resnet20", DIGITS)


def test_inspect_still_lists_a_quantised_checkpoint(tmp_path):
    write_npz(tmp_path / "w.npz", QUANTISED["GPTQ"][0])
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "w.npz")])
    assert result.exit_code == 0
    assert "layers.0.qweight" in result.stdout
    assert "the model is quantised, by GPTQ or AWQ" in result.stdout


@pytest.mark.parametrize("command", ["inspect", "convert", "prune", "verify"])
def test_commands_say_it_in_one_message(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").write_bytes(ONNX)
    arguments = {
        "convert": ["model", "--out", "out"],
        "prune": ["--weights", "model", "--sparsity", "0.5", "--out", "out"],
    }.get(command, ["model"])
    result = CliRunner().invoke(main, [command, *arguments])
    assert result.exit_code == 2
    assert "ONNX" in result.stderr or "needs torch" in result.stderr
    assert "Traceback" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("length", range(len(SAVED_MODEL)))
def test_truncated_messages_have_no_fields(length):
    fields = top_level_fields(SAVED_MODEL[:length])
    assert fields in ({}, {1: {0}})


@pytest.mark.parametrize(
    "data", [b"\xff" * 64, b"\x0a" + b"\xff" * 9 + b"\x01", b"\x0b\x0c", b"\x09"]
)
def test_what_is_no_message_has_no_fields(data):
    assert top_level_fields(data) == {}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")  # These ways of saving are on their way out.
def test_files_that_torch_writes_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    inputs = (torch.ones(1, 3),)
    torch.jit.save(torch.jit.trace(network, inputs), tmp_path / "script")
    torch.export.save(torch.export.export(network, inputs), tmp_path / "program.pt2")
    torch.save(network, tmp_path / "whole")
    torch.save(network, tmp_path / "old", _use_new_zipfile_serialization=False)
    quantised = torch.quantize_per_tensor(torch.ones(3, 3), 0.1, 0, torch.qint8)
    torch.save({"w": quantised}, tmp_path / "quantised")
    expected = {
        "script": "TorchScript",
        "program.pt2": "saved by torch.export",
        "whole": "whole pickled module",
        "old": "whole pickled module",
        "quantised": "quantised tensors",
    }
    for name, words in expected.items():
        assert words in words_of(tmp_path / name)


def test_exported_programs_of_jax_are_named(tmp_path):
    pytest.importorskip("flatbuffers", reason="jax.export needs flatbuffers to serialise")
    import jax

    shape = jax.ShapeDtypeStruct((3, 3), np.float32)
    exported = jax.export.export(jax.jit(lambda x: x @ x))(shape)
    (tmp_path / "program").write_bytes(exported.serialize())
    assert "a program saved by jax.export" in words_of(tmp_path / "program")
    (tmp_path / "program").write_bytes(exported.mlir_module_serialized)
    assert "MLIR bytecode" in words_of(tmp_path / "program")
    (tmp_path / "program").write_text(exported.mlir_module())
    assert "MLIR text" in words_of(tmp_path / "program")


def test_other_messages_are_no_onnx(tmp_path):
    """A field of ONNX's graph without the version that comes first."""
    (tmp_path / "weights").write_bytes(b":\x04\x12\x02gr")
    assert "has no known format" in words_of(tmp_path / "weights")
