"""That test_parity would notice wrong transformers; needs the extra `parity`."""

import numpy as np
import pytest

from jgaprune.bench.parity import DIFFERENCE, compare
from jgaprune.converters import assumed_arguments, load
from jgaprune.converters.formats import write_safetensors
from jgaprune.model import PADDING

torch = pytest.importorskip("torch", reason="parity tests need the extra 'parity'")

from jgaprune.bench import torch_parity as parity  # noqa: E402
from jgaprune.bench.torch_logits import logits_of  # noqa: E402
from jgaprune.bench.torch_references import CASES  # noqa: E402

pytestmark = pytest.mark.parity
SQUARE = {
    "vit_hf": "vit.encoder.layer.1.attention.output.dense.weight",
    "vit_timm": "blocks.1.attn.proj.weight",
    "bert_classifier": "bert.encoder.layer.1.attention.self.query.weight",
    "gpt2_tied": "transformer.h.1.attn.c_proj.weight",
    "llama_grouped": "model.layers.1.self_attn.q_proj.weight",
}


def transposed(name, tensors):
    return {**tensors, SQUARE[name]: tensors[SQUARE[name]].T.copy()}


def swapped(name, tensors):
    """The first two layers in each other's place."""
    first, second = SQUARE[name].rpartition(".1.")[0] + ".0.", ""
    second = first.replace(".0.", ".1.")
    names = [n for n in tensors if n.startswith(first)]
    others = [n.replace(first, second) for n in names]
    return tensors | dict(zip(names + others, [tensors[n] for n in others + names], strict=True))


@pytest.fixture
def original(tmp_path):
    """Makes a network in PyTorch, and its tensors."""

    def make(name):
        network = parity.pair(CASES[name], tmp_path / "file.safetensors", write_safetensors).network
        state = network.state_dict()
        return network, {n: tensor.float().numpy().copy() for n, tensor in state.items()}

    return make


def compared(name, network, path, **changes):
    """Of what is in the file with PyTorch's network."""
    case, inputs = CASES[name], parity.inputs_of(name, CASES[name], 8)
    told = {n: case.config[n] for n in assumed_arguments(case.arch) if n in case.config}
    model = load(case.arch, path, **{**told, **changes})
    tolerance = parity.tolerance_of(case)
    return compare(parity.our_logits(model, inputs), logits_of(network, inputs), inputs, tolerance)


@pytest.mark.parametrize("change", [transposed, swapped])
@pytest.mark.parametrize("name", SQUARE)
def test_weights_in_another_place_are_noticed(name, change, original, tmp_path):
    network, tensors = original(name)
    write_safetensors(tmp_path / "changed.safetensors", change(name, tensors))
    found = compared(name, network, tmp_path / "changed.safetensors")
    assert found.verdict == DIFFERENCE
    assert found.relative > 1e-3


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vit_hf", {"activation": "gelu_new"}),
        ("vit_timm", {"eps": 1e-5}),
        ("bert_classifier", {"activation": "gelu_new"}),
        ("bert_classifier", {"eps": 1e-5}),
        ("gpt2_tied", {"activation": "gelu"}),
        ("gpt2_tied", {"eps": 1e-6}),
        ("llama_grouped", {"eps": 1e-6}),
        ("llama_grouped", {"rope_base": 10000.0}),
        ("llama_grouped", {"pairing": "interleaved"}),
    ],
)
def test_other_settings_are_noticed(name, change, original, tmp_path):
    network, _ = original(name)
    found = compared(name, network, tmp_path / "file.safetensors", **change)
    assert found.verdict == DIFFERENCE


@pytest.mark.parametrize("name", ["bert_classifier", "bert_tokens", "gpt2_tied", "llama_grouped"])
def test_the_reference_does_not_look_at_padding(name, original):
    network, _ = original(name)
    inputs = parity.inputs_of(name, CASES[name], 8)
    real = torch.from_numpy(inputs != PADDING)
    assert not real.all()
    with torch.no_grad():
        first, second = (
            network(torch.from_numpy(np.where(real, inputs, filler)).long(), real.long())
            for filler in (0, 7)
        )
    shown = real if first.ndim == 3 else slice(None)
    torch.testing.assert_close(first[shown], second[shown], rtol=0, atol=1e-12)
