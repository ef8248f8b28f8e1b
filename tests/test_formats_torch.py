"""Files that real PyTorch writes, read without it, and files of ours that PyTorch reads."""

import pickle
from collections import Counter, OrderedDict

import ml_dtypes
import numpy as np
import pytest

from jgaprune.converters.formats import FormatError, read, write_pth, write_safetensors
from jgaprune.converters.formats.torch_pickle import _EXTENSION_DTYPES

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

TYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.complex64),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16),
    *(torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2),
]


def as_bits(tensor):
    """Bytes of a contiguous copy, also of types NumPy doesn't know."""
    flat = tensor.detach().resolve_conj().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def assert_matches(source, state):
    assert list(source.tensors) == list(state)
    for name, tensor in state.items():
        array = source.tensors[name]
        assert array.shape == tuple(tensor.shape)
        assert str(array.dtype) == str(tensor.dtype).removeprefix("torch.")
        assert array.tobytes() == as_bits(tensor)


def variants():
    """Tensors of every kind of view and type."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    state = {str(kind): (base * 3).abs().to(kind) for kind in TYPES}
    state["torch.float16.transposed"] = base.half().t()
    return state | {
        "module.transposed": base.t(),
        "sliced": base[1:, ::2],
        "permuted": torch.randn(2, 3, 4, 5, generator=generator).permute(3, 1, 0, 2),
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "expanded": base[:, :1].expand(4, 9),
        "scalar": torch.tensor(3.5),
        "count": torch.tensor(12345678901),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base),
        "tied": base,
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("is_zip", [True, False])
def test_torch_save_is_read_bit_exact(tmp_path, protocol, is_zip):
    state = variants()
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": is_zip}
    checkpoint = {
        "state_dict": OrderedDict(state),
        "epoch": 3,
        "best": np.float64(91.5),
        "best_acc1": torch.tensor(91.25),
        "milestones": Counter([100, 150]),
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "names": {"a", "b"},
        "blob": b"\x00\xff",
        "large": 2**80,
    }
    torch.save(checkpoint, tmp_path / "w.pth", **options)
    source = read(tmp_path / "w.pth")
    assert_matches(source, state)
    assert source.metadata == {
        "epoch": 3,
        "best": 91.5,
        "best_acc1": 91.25,
        "device": "cpu",
        "large": 2**80,
    }
    assert source.tensors["tied"] is source.tensors["parameter"]


def test_file_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(3)}, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read(tmp_path / "w.pth").tensors["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("is_zip", [True, False])
def test_training_checkpoint_of_a_module(tmp_path, is_zip):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 5),
    )
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    model(torch.randn(2, 3, 6, 6)).sum().backward()
    optimizer.step()
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "rng_state": torch.get_rng_state(),
    }
    torch.save(checkpoint, tmp_path / "w.pt", _use_new_zipfile_serialization=is_zip)
    assert_matches(read(tmp_path / "w.pt"), model.state_dict())


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_is_no_state_dict_is_refused(tmp_path, is_zip):
    path = tmp_path / "w.pt"
    model = torch.nn.Linear(3, 2)
    sparse = torch.eye(3).to_sparse()
    cases = {"whole pickled module": model, "_rebuild_sparse_tensor": {"w": sparse}}
    for words, value in cases.items():
        torch.save(value, path, _use_new_zipfile_serialization=is_zip)
        with pytest.raises(FormatError, match=words):
            read(path)
    path.write_bytes(pickle.dumps({"w": [1.0]}))
    with pytest.raises(FormatError, match="pickle may run any code"):
        read(path)


def test_program_archives_are_refused(tmp_path):
    path = tmp_path / "program"
    model = torch.nn.Linear(3, 2).eval()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(model), path)
    with pytest.raises(FormatError, match="TorchScript"):
        read(path)


def arrays():
    values = np.random.default_rng(0).standard_normal((3, 4))
    types = [np.float64, np.float32, np.float16, np.int8, np.uint16, np.bool_]
    extension = [getattr(ml_dtypes, name) for name in _EXTENSION_DTYPES]
    named = {np.dtype(kind).name: values.astype(kind) for kind in [*types, *extension]}
    return named | {"scalar": np.array(2.5, np.float32), "transposed": values.T}


def test_our_pth_is_read_by_torch_and_by_us(tmp_path):
    write_pth(tmp_path / "w.pth", arrays())
    loaded = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(loaded) == list(arrays())
    assert_matches(read(tmp_path / "w.pth"), loaded)
    for name, array in arrays().items():
        assert as_bits(loaded[name]) == array.tobytes()


def test_our_safetensors_is_read_by_torch(tmp_path):
    from safetensors.torch import load_file

    write_safetensors(tmp_path / "w.safetensors", arrays())
    loaded = load_file(tmp_path / "w.safetensors")
    for name, array in arrays().items():
        assert as_bits(loaded[name]) == array.tobytes()
        assert tuple(loaded[name].shape) == array.shape


def test_torch_safetensors_is_read_by_us(tmp_path):
    from safetensors.torch import save_file

    state = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in TYPES}
    save_file(state, tmp_path / "w.safetensors", {"format": "pt"})
    source = read(tmp_path / "w.safetensors")
    assert_matches(source, {name: state[name] for name in source.tensors})
    assert set(source.tensors) == set(state)
    assert source.metadata == {"format": "pt"}


def test_real_checkpoints_match_torch(shared_files):
    for path in shared_files:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        assert_matches(read(path), loaded.get("state_dict", loaded))


@pytest.fixture
def shared_files():
    from pathlib import Path

    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    files = [
        folder / name for name in ("cifar_resnet20.th", "cifar_resnet32.th", "mnist_lenet5.pt")
    ]
    if not all(file.exists() for file in files):
        pytest.skip("the shared data is absent")
    return files
