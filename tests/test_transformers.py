"""Transformers: how their files are known, what `config.json` tells, and the way back.

That they compute what PyTorch does is in `test_transformers_parity`.
"""

import json
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jgaprune as jp
from jgaprune.converters import ConversionError, load, to_source
from jgaprune.converters.formats import read, write_npz, write_safetensors
from jgaprune.converters.leaves import from_leaf
from jgaprune.converters.models import vit_names

TOKENS = {"dim": 8, "num_heads": 2, "hidden": 12, "vocabulary": 11, "context": 6}
SIZES = {
    "bert": {**TOKENS, "positions": 7, "num_classes": 3},
    "gpt2": {**TOKENS, "positions": 7},
    "llama": {**TOKENS, "num_kv_heads": 1},
    "vit": {
        "dim": 8,
        "num_heads": 2,
        "hidden": 12,
        "image_size": (8, 12),
        "patch_size": 4,
        "num_classes": 3,
        "eps": 1e-6,
    },
}
INPUTS = np.random.RandomState(0).randint(0, 11, (3, 6)).astype(np.int32)


@cache
def original(arch, **changes):
    """A network of two layers, no weight of which is zero or one."""
    model = jp.converters.untrained(arch, num_layers=2, **{**SIZES[arch], **changes})
    keys = jax.random.split(jax.random.key(1), len(model.params))
    params = {
        name: leaf + 0.2 * jax.random.normal(key, leaf.shape)
        for key, (name, leaf) in zip(keys, model.params.items(), strict=True)
    }
    return model._replace(params=params)


def file_of(model):
    """The tensors as PyTorch would have them."""
    leaves = {name: np.asarray(leaf) for name, leaf in model.params.items()}
    return {tensor.name: from_leaf(leaves[leaf], tensor) for leaf, tensor in model.spec.tensors}


def untold(arch):
    names = set(jp.converters.assumed_arguments(arch))
    return {name: size for name, size in SIZES[arch].items() if name in names}


def by_hugging_face(name):
    """Of timm's tensors of a ViT, with queries, keys and values apart."""
    place, _, kind = name.rpartition(".")
    outside = {ours: theirs for theirs, ours in vit_names._OUTSIDE.items()}
    if name in outside or place in outside:
        theirs = outside.get(name) or f"{outside[place]}.{kind}"
        return theirs if place == "head" else f"vit.{theirs}"
    inside = {ours: theirs for theirs, ours in vit_names._LAYER.items()}
    _, number, layer = place.split(".", 2)
    return f"vit.encoder.layer.{number}.{inside[layer]}.{kind}"


def without(prefix):
    return lambda name: name.removeprefix(prefix)


def old_kinds(name):
    layer, _, kind = name.rpartition(".")
    kinds = {"weight": "gamma", "bias": "beta"}
    return f"{layer}.{kinds[kind]}" if layer.endswith("LayerNorm") else name


SPELLINGS = {
    "bert": ("bert", {}, str),
    "bert of tokens": ("bert", {"head": "tokens"}, str),
    "bert without a prefix": ("bert", {"head": "pooler", "num_classes": 2}, without("bert.")),
    "bert of old": ("bert", {}, old_kinds),
    "gpt2": ("gpt2", {}, str),
    "gpt2 with a head": ("gpt2", {"tied": False}, str),
    "gpt2 without a prefix": ("gpt2", {}, without("transformer.")),
    "llama": ("llama", {"tied": False}, str),
    "llama without a prefix": ("llama", {}, without("model.")),
    "vit of timm": ("vit", {}, str),
    "vit of Hugging Face": ("vit", {"fused": False}, by_hugging_face),
    "vit without a prefix": (
        "vit",
        {"fused": False, "head": "pooler", "num_classes": 1000},
        lambda name: by_hugging_face(name).removeprefix("vit."),
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_names_and_shapes_tell_the_network(spelling, tmp_path):
    arch, changes, spelled = SPELLINGS[spelling]
    model = original(arch, **changes)
    write_npz(tmp_path / "w.npz", {spelled(n): t for n, t in file_of(model).items()})
    found = load("auto", tmp_path / "w.npz", **untold(arch))
    assert found.spec.name == arch and found.spec.config == model.spec.config
    for name, leaf in model.params.items():
        np.testing.assert_array_equal(found.params[name], leaf)
    back = to_source(found, found.params, found.buffers)
    for name, tensor in read(tmp_path / "w.npz").tensors.items():
        np.testing.assert_array_equal(back[name], tensor)


@pytest.mark.parametrize("name", ["transformer.wte.weight", "lm_head.weight", "both"])
def test_a_tied_head_is_the_embedding_whatever_the_file_names(name, tmp_path):
    model = original("gpt2")
    tensors = file_of(model)
    embedding = tensors.pop("transformer.wte.weight")
    names = ("transformer.wte.weight", "lm_head.weight") if name == "both" else (name,)
    write_npz(tmp_path / "w.npz", tensors | dict.fromkeys(names, embedding))
    found = load("auto", tmp_path / "w.npz", **untold("gpt2"))
    assert dict(found.spec.config)["tied"]
    halved = {n: 0.5 * leaf for n, leaf in found.params.items()}
    back = to_source(found, halved, {})
    assert all(np.array_equal(back[one], 0.5 * embedding) for one in names)


def test_tables_and_heads_of_the_pre_training_have_no_leaf(tmp_path):
    tensors = file_of(original("gpt2"))
    tensors["transformer.h.0.attn.bias"] = np.ones((1, 1, 7, 7), np.float32)
    tensors["transformer.h.0.attn.masked_bias"] = np.float32(-1e4)
    write_npz(tmp_path / "gpt2.npz", tensors)
    assert load("auto", tmp_path / "gpt2.npz", **untold("gpt2")).spec.name == "gpt2"
    tensors = file_of(original("bert", head="pooler"))
    tensors["bert.embeddings.position_ids"] = np.arange(7)[None]
    tensors["cls.seq_relationship.weight"] = np.ones((2, 8), np.float32)
    write_npz(tmp_path / "bert.npz", tensors)
    found = load("auto", tmp_path / "bert.npz", **untold("bert"))
    assert found.spec.num_outputs == SIZES["bert"]["dim"]
    back = to_source(found, found.params, {})
    np.testing.assert_array_equal(back["cls.seq_relationship.weight"], 1)


CONFIGS = {
    "bert": {
        "model_type": "bert",
        "num_attention_heads": 2,
        "layer_norm_eps": 1e-3,
        "hidden_act": "relu",
        "id2label": {"0": "no", "1": "perhaps", "2": "yes"},
    },
    "gpt2": {
        "model_type": "gpt2",
        "n_head": 2,
        "layer_norm_epsilon": 1e-3,
        "activation_function": "gelu",
        "bos_token_id": 4,
    },
    "llama": {
        "model_type": "llama",
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-3,
        "rope_theta": 500,
        "max_position_embeddings": 6,
        "tie_word_embeddings": True,
        "head_dim": 4,
    },
    "vit": {"model_type": "vit", "num_attention_heads": 2, "layer_norm_eps": 1e-3},
}
TOLD = {
    "bert": {"eps": 1e-3, "activation": "relu"},
    "gpt2": {"eps": 1e-3, "activation": "gelu"},
    "llama": {"eps": 1e-3, "rope_base": 500.0},
    "vit": {"eps": 1e-3},
}


def folder_of(model, config, place, shards=1):
    """As `save_pretrained` writes it."""
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    tensors = file_of(model)
    if shards == 1:
        write_safetensors(place / "model.safetensors", tensors)
        return place
    names = [f"model-{n + 1:05}-of-{shards:05}.safetensors" for n in range(shards)]
    weight_map = {name: names[n % shards] for n, name in enumerate(tensors)}
    for shard in names:
        part = {n: t for n, t in tensors.items() if weight_map[n] == shard}
        write_safetensors(place / shard, part)
    index = {"metadata": {}, "weight_map": weight_map}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    return place


@pytest.mark.parametrize("arch", CONFIGS)
@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_tells_everything_by_itself(arch, shards, tmp_path):
    model = original(arch, **TOLD[arch])
    found = load("auto", folder_of(model, CONFIGS[arch], tmp_path / "model", shards))
    told = dict(found.spec.config)
    assert {name: told[name] for name in TOLD[arch]} == TOLD[arch]
    assert told["num_heads"] == 2
    assert all(np.array_equal(found.params[name], leaf) for name, leaf in model.params.items())
    assert set(found.spec.assumed) <= {"context", "image_size"}
    again = load(found.spec.name, found.spec.source.path, **told)
    assert again.spec == replace(found.spec, assumed=())
    back = to_source(found, found.params, {})
    assert all(np.array_equal(back[name], tensor) for name, tensor in file_of(model).items())


def test_names_of_classes_and_the_first_token_are_told(tmp_path):
    bert = load("auto", folder_of(original("bert"), CONFIGS["bert"], tmp_path / "bert"))
    assert bert.spec.output_names == ("no", "perhaps", "yes")
    gpt2 = load("auto", folder_of(original("gpt2"), CONFIGS["gpt2"], tmp_path / "gpt2"), context=6)
    assert gpt2.spec.start_token == 4 and original("gpt2").spec.start_token == 10
    text = jp.inputs.sample_tokens(gpt2, jax.random.key(0), 2, 3)
    assert (np.asarray(text)[:, 0] == 4).all()


@pytest.mark.parametrize(
    ("arch", "changes", "message"),
    [
        ("auto", {"model_type": "mamba"}, "model_type 'mamba'.*bert, gpt2, llama, vit.*from_torch"),
        ("gpt2", {}, '"llama" and not "gpt2"'),
        ("auto", {"rope_scaling": {"type": "linear"}, "mlp_bias": True}, "mlp_bias.*rope_scaling"),
        ("auto", {"num_attention_heads": "2"}, "num_attention_heads is '2', expected a int"),
        ("auto", {"rms_norm_eps": -1}, "rms_norm_eps is -1"),
        ("auto", {"head_dim": 8}, "2 heads of head_dim 8 do not make hidden_size 8"),
    ],
)
def test_what_no_architecture_computes_is_refused(arch, changes, message, tmp_path):
    config = {**CONFIGS["llama"], **changes}
    with pytest.raises(ConversionError, match=message):
        load(arch, folder_of(original("llama"), config, tmp_path / "model"))


@pytest.mark.parametrize(
    ("arch", "wrong", "message"),
    [
        ("bert", {"num_heads": 3}, "dim 8 does not make 3 heads"),
        ("bert", {"context": 8, "head": "nose"}, "head must be one of.*context must be at most 7"),
        ("gpt2", {"activation": "swish", "context": 9}, "activation must be.*at most 7"),
        ("vit", {"image_size": (2, 8)}, "less than one patch"),
        ("vit", {"image_size": (8, 8, 3)}, "must be height and width"),
    ],
)
def test_impossible_arguments_are_refused(arch, wrong, message):
    with pytest.raises(ConversionError, match=f"arguments of {arch}: .*{message}"):
        jp.converters.untrained(arch, **{**SIZES[arch], **wrong})


def test_reading_token_by_token_says_the_same():
    model = original("gpt2")
    expected = np.asarray(jax.jit(model.apply)(model.params, model.buffers, INPUTS))
    memory = model.stepwise.memory(model.params, model.buffers, 3, 6)
    step = jax.jit(model.stepwise.step)
    for position in range(6):
        at = jnp.int32(position)
        found, memory = step(model.params, model.buffers, INPUTS[:, position], at, memory)
        np.testing.assert_allclose(found, expected[:, position], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", SIZES)
def test_layers_are_pruned_and_embeddings_and_norms_are_not(arch):
    names = original(arch).spec.prunable
    assert all(name.endswith(".kernel") for name in names)
    words = ("emb", "norm", "token", "wte", "wpe", "ln_")
    others = {"patch_embed.proj.kernel"}
    assert not any(word in name for name in set(names) - others for word in words)
    dense = {name for name in original(arch).params if name.endswith("kernel")}
    assert set(names) == dense


@pytest.mark.slow
@pytest.mark.parametrize("arch", SIZES)
def test_the_default_call_prunes_to_the_weight(arch):
    model = original(arch)
    report = jp.prune(model, sparsity=0.5, num_inputs=16, generations=2, population=4)
    origins = {"bert": "noise", "gpt2": "sampled", "llama": "sampled", "vit": "inverted"}
    assert report.settings["inputs"] == origins[arch]
    assert report.sparsity == pytest.approx(0.5, abs=1e-3)
    for name in model.spec.prunable:
        assert np.any(report.params[name] == 0) and np.any(report.params[name])
