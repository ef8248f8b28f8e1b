"""Transformers against PyTorch on the same weights; needs the extra `parity`."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import channels_last, random_inputs, random_tensors

from jgaprune.converters import load, masks_to_source
from jgaprune.converters.formats import write_safetensors
from jgaprune.masks import apply_masks
from jgaprune.model import PADDING

torch = pytest.importorskip("torch", reason="parity tests need the extra 'parity'")

from jgaprune.bench.torch_decoders import Gpt2, Llama  # noqa: E402
from jgaprune.bench.torch_transformers import Bert, BertClassifier, HfVit, TimmVit  # noqa: E402

pytestmark = pytest.mark.parity
SINGLE, DOUBLE = 2e-6, 1e-10
VOCABULARY, LENGTH = 50, 9
SIZE = (24, 16)


class Case(NamedTuple):
    """A network in PyTorch, and what no tensor tells of it."""

    build: Callable[[], Any]
    arch: str
    config: dict[str, Any]


def tokens_case(build, arch, **config):
    return Case(build, arch, {"num_heads": 4, "context": LENGTH, **config})


SMALL = {"layers": 2, "heads": 4, "vocabulary": VOCABULARY}
CASES = {
    "vit_hf": Case(
        lambda: HfVit(32, 2, 4, 8, SIZE, 5), "vit", {"num_heads": 4, "image_size": SIZE}
    ),
    "vit_timm": Case(
        lambda: TimmVit(32, 2, 4, 8, SIZE, 5), "vit", {"num_heads": 4, "image_size": SIZE}
    ),
    "bert_classifier": tokens_case(lambda: BertClassifier(3, 32, positions=16, **SMALL), "bert"),
    "bert_tokens": tokens_case(
        lambda: BertClassifier(3, 32, positions=16, pooler=False, **SMALL), "bert"
    ),
    "bert_pooler": tokens_case(lambda: Bert(32, positions=16, **SMALL), "bert"),
    "gpt2_tied": tokens_case(lambda: Gpt2(32, positions=16, **SMALL), "gpt2"),
    "gpt2_untied": tokens_case(lambda: Gpt2(32, positions=16, tied=False, **SMALL), "gpt2"),
    "llama_grouped": tokens_case(
        lambda: Llama(32, kv_heads=2, hidden=44, base=5000.0, **SMALL),
        "llama",
        num_kv_heads=2,
        rope_base=5000.0,
    ),
    "llama_tied": tokens_case(
        lambda: Llama(32, kv_heads=4, hidden=44, tied=True, **SMALL), "llama", num_kv_heads=4
    ),
}


@cache
def reference(name):
    """The network with weights that anyone can draw again."""
    network = CASES[name].build().eval()
    shapes = {n: tuple(tensor.shape) for n, tensor in network.state_dict().items()}
    drawn = {n: torch.from_numpy(t) for n, t in random_tensors(shapes).items()}
    network.load_state_dict(drawn)
    return network.double()


def tensors_of(network):
    return {n: t.float().numpy().copy() for n, t in network.state_dict().items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parity")


def loaded(name, folder, tensors=None, **changes):
    path = folder / f"{name}.safetensors"
    write_safetensors(path, tensors or tensors_of(reference(name)))
    case = CASES[name]
    return load(case.arch, path, **{**case.config, **changes})


def inputs_of(name):
    """Images in PyTorch's layout; or tokens, padded where the network takes that."""
    if name.startswith("vit"):
        return random_inputs(name, (3, *SIZE))
    random = np.random.RandomState(3)
    tokens = random.randint(0, VOCABULARY, (8, LENGTH)).astype(np.int32)
    for row, length in enumerate((9, 7, 3, 1)):
        tokens[row, length:] = PADDING
    if name.startswith("bert"):
        tokens[5, 2] = tokens[6, 3:6] = PADDING
    return tokens


def torch_logits(network, inputs):
    with torch.no_grad():
        if inputs.dtype == np.int32:
            real = torch.from_numpy(inputs != PADDING)
            filler = torch.randint(0, VOCABULARY, inputs.shape)  # that nothing may depend on
            tokens = torch.where(real, torch.from_numpy(inputs).long(), filler)
            return network(tokens, real.long()).double().numpy()
        dtype = next(network.parameters()).dtype
        return network(torch.from_numpy(inputs).to(dtype)).double().numpy()


def our_logits(model, inputs, params=None):
    shown = channels_last(inputs) if inputs.ndim == 4 else inputs
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(model.apply)
        return np.asarray(apply(model.params if params is None else params, model.buffers, shown))


def error(ours, reference, inputs):
    """Relative, at tokens that are no padding; never of nothing."""
    if reference.ndim == 3:
        real = inputs != PADDING
        ours, reference = ours[..., real, :], reference[..., real, :]
    largest = np.abs(reference).max()
    assert largest > 0.1
    assert np.abs(reference - reference[:1]).max() > 0.01 * largest
    return np.abs(ours - reference).max() / largest


def same_decisions(ours, reference, inputs):
    real = inputs != PADDING if reference.ndim == 3 else slice(None)
    return np.array_equal(ours.argmax(-1)[real], reference.argmax(-1)[real])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("num_inputs", [8, 3])
def test_logits_are_those_of_torch(name, num_inputs, folder):
    inputs = inputs_of(name)[:num_inputs]
    expected = torch_logits(reference(name), inputs)
    ours = our_logits(loaded(name, folder), inputs)
    found = error(ours, expected, inputs)
    print(f"relative error {found:.1e}")
    assert found <= SINGLE
    assert same_decisions(ours, expected, inputs)


@pytest.mark.parametrize("name", CASES)
def test_logits_in_double_precision(name, folder):
    model, inputs = loaded(name, folder), inputs_of(name)
    with jax.enable_x64(True):
        params = {n: jnp.asarray(np.asarray(p), jnp.float64) for n, p in model.params.items()}
        shown = inputs if inputs.dtype == np.int32 else inputs.astype(np.float64)
        ours = our_logits(model, shown, params)
    assert ours.dtype == np.float64
    assert error(ours, torch_logits(reference(name), inputs), inputs) <= DOUBLE


@pytest.mark.parametrize(
    "name", ["vit_hf", "vit_timm", "bert_tokens", "gpt2_tied", "llama_grouped"]
)
def test_every_member_of_a_population_is_the_masked_network(name, folder):
    model, inputs = loaded(name, folder), inputs_of(name)
    keys = jax.random.split(jax.random.key(0), len(model.layout.names))
    masks = {
        leaf: jax.random.bernoulli(key, 0.6, (3, *model.params[leaf].shape))
        for leaf, key in zip(model.layout.names, keys, strict=True)
    }

    def member(masks):
        return model.apply(apply_masks(model.params, masks), model.buffers, shown)

    shown = channels_last(inputs) if inputs.ndim == 4 else inputs
    with jax.default_matmul_precision("highest"):
        population = np.asarray(jax.jit(jax.vmap(member))(masks))
    for number, ours in enumerate(population):
        named = masks_to_source(model, {leaf: mask[number] for leaf, mask in masks.items()})
        network = CASES[name].build().eval().double()
        tensors = tensors_of(reference(name))
        for tensor, mask in named.items():
            tensors[tensor] = tensors[tensor] * mask
        network.load_state_dict({n: torch.from_numpy(t) for n, t in tensors.items()})
        expected = torch_logits(network, inputs)
        assert error(ours, expected, inputs) <= SINGLE
        assert same_decisions(ours, expected, inputs)


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


@pytest.mark.parametrize("change", [transposed, swapped])
@pytest.mark.parametrize("name", SQUARE)
def test_weights_in_another_place_are_noticed(name, change, folder):
    inputs = inputs_of(name)
    model = loaded(name, folder, change(name, tensors_of(reference(name))))
    assert error(our_logits(model, inputs), torch_logits(reference(name), inputs), inputs) > 1e-3


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
def test_other_settings_are_noticed(name, change, folder):
    inputs = inputs_of(name)
    ours = our_logits(loaded(name, folder, **change), inputs)
    assert error(ours, torch_logits(reference(name), inputs), inputs) > SINGLE
