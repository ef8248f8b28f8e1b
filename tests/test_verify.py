"""`verify`: parity is found, differences are told, and dead networks prove nothing.

What the verdicts are is in test_verdicts.
"""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from golden import golden

from jgaprune.cli import main
from jgaprune.converters import assumed_arguments
from jgaprune.converters.formats import write_npz, write_safetensors
from jgaprune.converters.models.llama_names import our_name


def run(*arguments):
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


@pytest.fixture
def mlp(tmp_path):
    """A perceptron of images of 4 x 4, gelu, under names of DataParallel."""
    random = np.random.RandomState(1)
    shapes = {"fc1.weight": (12, 16), "fc1.bias": (12,), "fc2.weight": (5, 12), "fc2.bias": (5,)}
    tensors = {
        f"module.{name}": random.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    write_safetensors(tmp_path / "mlp.safetensors", tensors)
    return tmp_path / "mlp.safetensors", tensors


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Writes a module of the user's into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(activation="relu", out=5):
        (tmp_path / "ownnets.py").write_text(
            "import torch\n\nclass Net(torch.nn.Module):\n"
            "  def __init__(self):\n    super().__init__()\n"
            f"    self.fc1, self.fc2 = torch.nn.Linear(16, 12), torch.nn.Linear(12, {out})\n"
            "  def forward(self, x):\n"
            f"    return (self.fc2(torch.{activation}(self.fc1(x.flatten(1)))), None)\n"
            "def broken():\n  raise RuntimeError('not today')\n"
            "def number():\n  return 3\n"
        )

    yield write
    sys.modules.pop("ownnets", None)


def test_without_torch_it_says_how_to_install_it(mlp, monkeypatch):
    monkeypatch.setattr(sys.modules["jgaprune.cli.verify"], "torch_available", lambda: False)
    result = run(mlp[0])
    assert result.exit_code == 2
    assert "pip install 'jgaprune[torch]'" in result.stderr


def test_unknown_frameworks_are_bad_usage(mlp):
    assert run(mlp[0], "--against", "caffe").exit_code == 2


@pytest.mark.parity
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("name", ["digits_cnn", "paper_mnist", "mlp_on_colour_images"])
def test_known_networks_are_at_parity(tmp_path, name, dtype, tolerance):
    case = golden(name)
    write_npz(tmp_path / "weights.npz", case.tensors)
    config = [f"--arch-config={key}={value}" for key, value in case.config.items()]
    result = run(tmp_path / "weights.npz", "--arch", case.arch, *config, "--dtype", dtype, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    check = document["checks"]["random"]
    assert document["verdict"] == check["verdict"] == "parity"
    assert check["tolerance"] == tolerance
    assert 0 < check["relative"] <= tolerance
    assert (check["agreement"], check["num_inputs"]) == (1.0, 16)


META_OUTSIDE = ("tok_embeddings.weight", "norm.weight", "output.weight")
META_PLACES = (
    *("attention.wq", "attention.wk", "attention.wv", "attention.wo", "attention_norm"),
    *("feed_forward.w1", "feed_forward.w2", "feed_forward.w3", "ffn_norm"),
)


def without_prefix(tensors):
    """As a file of the inner class, in which a tied head has one name."""
    return {
        name.removeprefix("vit.").removeprefix("transformer."): array
        for name, array in tensors.items()
        if name != "lm_head.weight"
    }


def as_head_only(tensors):
    return {name: array for name, array in tensors.items() if "embed_tokens" not in name}


def by_meta(tensors):
    """With Meta's names; what is turned together stands elsewhere, too: another network."""
    places = [f"layers.{n}.{place}.weight" for n in range(2) for place in META_PLACES]
    spelled = {our_name(name): name for name in (*places, *META_OUTSIDE)}
    return {spelled[name]: array for name, array in tensors.items()}


SPELLINGS = {
    "vit_timm": dict,
    "vit_hf": dict,
    "vit_hf_pooler": without_prefix,
    "bert_classifier": dict,
    "bert_tokens": dict,
    "bert_pooler": dict,
    "gpt2_tied": without_prefix,
    "gpt2_untied": dict,
    "llama_grouped": by_meta,
    "llama_tied": as_head_only,
}


@pytest.mark.parity
@pytest.mark.parametrize("name", SPELLINGS)
def test_transformers_are_at_parity_however_they_are_spelled(name, tmp_path):
    pytest.importorskip("torch")
    from jgaprune.bench import torch_parity
    from jgaprune.bench.torch_references import CASES

    case = CASES[name]
    network = torch_parity.pair(case, tmp_path / "file.npz", write_npz).network
    tensors = {n: tensor.float().numpy() for n, tensor in network.state_dict().items()}
    write_npz(tmp_path / "file.npz", SPELLINGS[name](tensors))
    told = {n: case.config[n] for n in assumed_arguments(case.arch) if n in case.config}
    config = [f"--arch-config={key}={value}" for key, value in told.items()]
    result = run(tmp_path / "file.npz", "--arch", case.arch, *config)
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("parity")


@pytest.mark.parity
def test_real_inputs_are_compared_too(mlp, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.zeros(30, int))
    result = run(mlp[0], "--inputs", tmp_path / "images.npz")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-1] == "parity"
    assert [line.split()[:2] for line in lines if line.startswith(("random", "given"))] == [
        ["random", "16"],
        ["given", "30"],
    ]


@pytest.mark.parity
@pytest.mark.parametrize(("activation", "exit_code"), [("relu", 0), ("tanh", 1)])
def test_the_users_own_network_is_compared_with(mlp, own_module, activation, exit_code):
    own_module(activation)
    result = run("mlp.safetensors", "--module", "ownnets:Net")
    assert result.exit_code == exit_code, result.output
    assert (
        result.stdout.rstrip()
        .splitlines()[-1]
        .startswith("parity" if activation == "relu" else "random inputs: ")
    )
    assert ("difference" in result.stdout) == (activation == "tanh")


@pytest.mark.parity
@pytest.mark.parametrize(("scale", "bias"), [(1e-3, 0.0), (0.0, 2.0)])
def test_dead_networks_prove_nothing(mlp, tmp_path, scale, bias):
    tensors = {name: array * np.float32(scale) + np.float32(bias) for name, array in mlp[1].items()}
    write_safetensors(tmp_path / "dead.safetensors", tensors)
    if bias:  # All units of the last layer get the same, whatever comes in.
        tensors = {n: np.zeros_like(a) if "weight" in n else a for n, a in tensors.items()}
        write_safetensors(tmp_path / "dead.safetensors", tensors)
    result = run(tmp_path / "dead.safetensors")
    assert result.exit_code == 1
    assert "inconclusive" in result.stdout


BAD_MODULES = {
    "ownnets": "expected package.module:factory",
    "absent.nets:Net": "ModuleNotFoundError",
    "ownnets:Absent": "AttributeError",
    "ownnets:broken": "RuntimeError: not today",
    "ownnets:number": "made a int, not a torch.nn.Module",
}


@pytest.mark.parity
@pytest.mark.parametrize("place", BAD_MODULES)
def test_bad_factories_are_bad_usage(mlp, own_module, place):
    own_module()
    result = run("mlp.safetensors", "--module", place)
    assert result.exit_code == 2
    assert BAD_MODULES[place] in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parity
def test_a_network_of_other_tensors_is_bad_usage(mlp, own_module):
    own_module(out=7)
    result = run("mlp.safetensors", "--module", "ownnets:Net")
    assert result.exit_code == 2
    assert "not those of the PyTorch network" in result.stderr
    assert "fc2.weight" in result.stderr


@pytest.mark.parity
def test_networks_without_a_reference_ask_for_one(mlp, monkeypatch):
    from jgaprune.bench import torch_verify

    monkeypatch.setattr(torch_verify, "REFERENCES", {})
    result = run(mlp[0])
    assert result.exit_code == 2
    assert "no PyTorch network is known for mlp" in result.stderr
    assert "--module package.module:factory" in result.stderr


@pytest.mark.parity
@pytest.mark.parametrize("form", ["keyword", "second", "none"])
def test_networks_of_tokens_get_a_mask_if_they_take_one(form):
    torch = pytest.importorskip("torch")
    from jgaprune.bench.torch_logits import logits_of

    class Keyword(torch.nn.Module):
        def forward(self, tokens, cache=None, attention_mask=None):
            return (tokens * attention_mask)[..., None]

    class Second(torch.nn.Module):
        def forward(self, tokens, mask):
            return (tokens * mask)[..., None]

    class Alone(torch.nn.Module):
        def forward(self, tokens):
            return tokens[..., None]

    network = {"keyword": Keyword, "second": Second, "none": Alone}[form]()
    found = logits_of(network, np.array([[3, 2, -1]], np.int32))
    np.testing.assert_array_equal(found, [[[3], [2], [0]]])
