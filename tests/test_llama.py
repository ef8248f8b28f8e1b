"""Llama: what it computes, how its files are read, and that the rest of the package sees it."""

import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_paths import requires_shared
from llama_reference import Sizes, file_bytes, logits, random_weights

import jgaprune as jp
from jgaprune.converters import ConversionError, load, to_source
from jgaprune.converters.formats import FormatError, read, write_llama2c, write_safetensors
from jgaprune.converters.models.llama_names import our_name
from jgaprune.masks import apply_masks
from jgaprune.report import perplexity
from jgaprune.saliency.density import uniform_magnitude

SIZES = Sizes()
WEIGHTS = random_weights(SIZES)
BYTES = file_bytes(SIZES, WEIGHTS)
TOKENS = np.random.RandomState(1).randint(0, SIZES.vocabulary, (3, SIZES.context)).astype(np.int32)
EXPECTED = np.stack([logits(SIZES, WEIGHTS, window) for window in TOKENS])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    place = tmp_path_factory.mktemp("llama") / "tiny.bin"
    place.write_bytes(BYTES)
    return place


@pytest.fixture(scope="module")
def model(path):
    return load("auto", path)


def applied(model, tokens=TOKENS):
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(model.apply)(model.params, model.buffers, tokens))


def relative(found, expected):
    assert np.abs(expected).max() > 0.1
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_logits_are_those_of_llama2c(model):
    assert model.spec.name == "llama" and model.spec.source.format == "llama2c"
    assert relative(applied(model), EXPECTED) < 1e-5


def test_a_head_of_its_own_is_used_and_prunable(model, tmp_path):
    weights = random_weights(SIZES, own_head=True)
    (tmp_path / "own.bin").write_bytes(file_bytes(SIZES, weights))
    own = load("llama", tmp_path / "own.bin")
    expected = np.stack([logits(SIZES, weights, window) for window in TOKENS])
    assert relative(applied(own), expected) < 1e-5
    assert set(own.spec.prunable) - set(model.spec.prunable) == {"lm_head.kernel"}
    assert len(model.spec.prunable) == 7 * SIZES.layers
    assert not any("norm" in name or "embed" in name for name in own.spec.prunable)


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_halves_turned_together_are_neighbours_in_another_order(prefix, tmp_path):
    """What Hugging Face's converter does to Meta's weights."""
    sizes = Sizes(heads=2, kv_heads=1)  # four channels each: two would be in their order already
    weights = random_weights(sizes)
    (tmp_path / "four.bin").write_bytes(file_bytes(sizes, weights))
    tensors = {our_name(n): t for n, t in read(tmp_path / "four.bin").tensors.items()}
    tensors = {name: t for name, t in tensors.items() if "freq" not in name}
    for name in [n for n in tensors if "q_proj" in n or "k_proj" in n]:
        heads = tensors[name].reshape(-1, 4, sizes.dim)
        tensors[name] = heads[:, [0, 2, 1, 3]].reshape(-1, sizes.dim)
    tensors = {prefix + name.removeprefix("model."): t for name, t in tensors.items()}
    write_safetensors(tmp_path / "hf.safetensors", tensors)
    hf = load("llama", tmp_path / "hf.safetensors", num_heads=2, num_kv_heads=1, context=6)
    assert dict(hf.spec.config)["pairing"] == "half"
    expected = np.stack([logits(sizes, weights, window) for window in TOKENS])
    assert relative(applied(hf), expected) < 1e-5
    mistaken = load(
        "llama", tmp_path / "hf.safetensors", num_heads=2, num_kv_heads=1, pairing="interleaved"
    )
    assert relative(applied(mistaken), expected) > 0.01


def test_tables_of_positions_tell_the_heads_and_have_no_leaf(model):
    config = dict(model.spec.config)
    assert (config["num_heads"], config["num_kv_heads"], config["context"]) == (4, 2, 6)
    assert model.spec.assumed == ("eps", "rope_base")
    assert not any("freq" in leaf for leaf, _ in model.spec.tensors)


@pytest.mark.parametrize(
    "config", [{"num_heads": 3}, {"num_kv_heads": 3}, {"pairing": "both"}, {"eps": -1.0}]
)
def test_impossible_arguments_are_refused(config, path):
    with pytest.raises(ConversionError, match="arguments of llama"):
        load("llama", path, **config)


def test_reading_token_by_token_says_the_same(model):
    memory = model.stepwise.memory(model.params, model.buffers, 3, SIZES.context)
    step = jax.jit(model.stepwise.step)
    for position in range(SIZES.context):
        at = jnp.int32(position)
        found, memory = step(model.params, model.buffers, TOKENS[:, position], at, memory)
        assert relative(np.asarray(found), EXPECTED[:, position]) < 1e-5


def header(**changes):
    sizes = SIZES._replace(**changes)
    return struct.pack("<7i", *sizes) + BYTES[28:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BYTES[:-4], "asks for 4,428 bytes, there are 4,424"),
        (BYTES + b"\0" * 4, "asks for 4,428 bytes, there are 4,432"),
        (BYTES[:20], "it has 20 bytes"),
        (header(dim=2**31 - 1), "absurd sizes .dim 2147483647"),
        (header(layers=2**31 - 1), "absurd sizes .num_layers"),
        (header(layers=2**20), "absurd sizes .num_layers"),
        (header(heads=0), "absurd sizes .num_heads 0"),
        (header(vocabulary=-(2**31)), "absurd sizes"),
        (header(heads=8), "8 heads of an even size"),
        (header(kv_heads=3), "3 key heads do not divide"),
        (b"24ka" + BYTES, "later version"),
    ],
)
def test_damaged_files_are_refused(data, message, tmp_path):
    (tmp_path / "bad.bin").write_bytes(data)
    with pytest.raises(FormatError, match=message):
        read(tmp_path / "bad.bin")


def test_the_export_is_the_same_file(model, tmp_path):
    tensors = to_source(model, model.params, model.buffers)
    write_llama2c(tmp_path / "again.bin", tensors)
    assert (tmp_path / "again.bin").read_bytes() == BYTES
    del tensors["norm.weight"]
    with pytest.raises(FormatError, match="not those of a llama2.c model"):
        write_llama2c(tmp_path / "again.bin", tensors)


def half_kept(model, key):
    keys = jax.random.split(key, len(model.layout.names))
    return {
        name: jax.random.bernoulli(one, 0.5, model.params[name].shape)
        for name, one in zip(model.layout.names, keys, strict=True)
    }


def test_reconstruction_refits_every_projection(model, key):
    masks = half_kept(model, key)
    pruned = apply_masks(model.params, masks)
    repair = jp.repair.reconstruct(model, jnp.asarray(TOKENS))
    _, params, _ = jax.jit(repair.fit)(pruned, model.buffers)
    for name in model.layout.names:
        assert not np.allclose(params[name], pruned[name]), name
        assert not np.any(np.asarray(params[name])[~np.asarray(masks[name])]), name
    before = np.square(applied(model._replace(params=pruned)) - EXPECTED).sum()
    assert np.square(applied(model._replace(params=params)) - EXPECTED).sum() < 0.7 * before


def test_activation_scores_see_every_projection(model):
    found = jp.saliency.wanda(model, jnp.asarray(TOKENS), 0.5)
    unseen = uniform_magnitude(model.params, model.layout, 0.5)
    assert not any(np.allclose(found[name], unseen[name]) for name in model.layout.names)


@pytest.mark.slow
def test_the_real_model_tells_stories():
    model = load("auto", requires_shared("stories260K.bin"), context=257)
    text = np.asarray(jp.inputs.sample_tokens(model, jax.random.key(0), 64, 257))
    found = perplexity(model, model.params, model.buffers, text[:, :-1], text[:, 1:])
    assert 3.0 < found < 4.2
    data = requires_shared("tok512.bin").read_bytes()
    pieces, place = [], 4
    while place < len(data):
        size = struct.unpack_from("<i", data, place + 4)[0]
        pieces.append(data[place + 8 : place + 8 + size])
        place += 8 + size
    greedy = jp.inputs.sample_tokens(model, jax.random.key(0), 1, 64, temperature=1e-6)
    told = b"".join(pieces[token] for token in np.asarray(greedy)[0, 1:]).decode()
    assert told.startswith(" Once upon a time, there was a little girl named Lily.")
