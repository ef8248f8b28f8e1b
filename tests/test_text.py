"""Tokens as inputs: text that a model writes itself, and everything that looks at it."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jgaprune as jp
from jgaprune import objectives
from jgaprune.inputs import sample_tokens, vary
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.model import Model
from jgaprune.report import accuracy, perplexity

VOCABULARY, LENGTH = 7, 6


def chain(params, tokens):
    """Logits of the next token depend on the last one alone: a known distribution."""
    return params["table"][tokens] @ params["kernel"]


def chain_model(seed=0):
    first, second = jax.random.split(jax.random.key(seed))
    params = {
        "table": jax.random.normal(first, (VOCABULARY, 5)),
        "kernel": jax.random.normal(second, (5, VOCABULARY)),
    }
    return Model.from_fn(
        chain,
        params,
        (LENGTH,),
        prunable=lambda name, leaf: name == "kernel",
        vocabulary=VOCABULARY,
    )


CHAIN = chain_model()
TOKENS = sample_tokens(CHAIN, jax.random.key(3), 40, LENGTH)
DATA = np.asarray(TOKENS), np.roll(np.asarray(TOKENS), -1, axis=1)


@cache
def llama():
    sizes = {"dim": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "hidden": 12}
    return jp.converters.untrained("llama", **sizes, vocabulary=VOCABULARY, context=LENGTH)


def test_text_has_the_models_own_frequencies():
    windows = np.asarray(sample_tokens(CHAIN, jax.random.key(0), 4000, 3, start=2))
    assert windows.dtype == np.int32 and (windows[:, 0] == 2).all()
    shares = np.asarray(jax.nn.softmax(CHAIN.apply(CHAIN.params, {}, jnp.arange(VOCABULARY)[None])))
    first = np.bincount(windows[:, 1], minlength=VOCABULARY) / len(windows)
    np.testing.assert_allclose(first, shares[0, 2], atol=0.03)
    joint = np.zeros((VOCABULARY, VOCABULARY))
    np.add.at(joint, (windows[:, 1], windows[:, 2]), 1 / len(windows))
    np.testing.assert_allclose(joint, shares[0, 2][:, None] * shares[0], atol=0.03)


def test_cold_text_is_the_likeliest():
    windows = np.asarray(sample_tokens(CHAIN, jax.random.key(0), 3, LENGTH, temperature=1e-4))
    logits = np.asarray(CHAIN.apply(CHAIN.params, {}, windows))
    np.testing.assert_array_equal(windows[:, 1:], logits.argmax(-1)[:, :-1])


def test_text_is_the_same_with_and_without_memory():
    model, key = llama(), jax.random.key(5)
    assert model.stepwise is not None
    one = sample_tokens(model, key, 4, LENGTH)
    other = sample_tokens(model._replace(stepwise=None), key, 4, LENGTH)
    np.testing.assert_array_equal(one, other)
    assert len({tuple(row) for row in np.asarray(one)}) > 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num": 0}, "num must be positive"),
        ({"length": LENGTH + 1}, r"length in 1..6"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"start": VOCABULARY}, r"a token 0..6"),
    ],
)
def test_impossible_text_is_refused(wrong, message):
    asked = {"num": 2, "length": 3, **wrong}
    with pytest.raises(ValueError, match=message):
        sample_tokens(CHAIN, jax.random.key(0), **asked)


def test_a_variation_of_text_is_two_texts_in_a_row(key):
    varied, tokens = np.asarray(vary(key, TOKENS)), np.asarray(TOKENS)
    assert varied.dtype == np.int32 and (varied != tokens).any()
    cuts = range(1, LENGTH + 1)
    ends = {tuple(row[cut:]) for row in tokens for cut in cuts}
    for row, same in zip(varied, tokens, strict=True):
        assert any((row[:cut] == same[:cut]).all() and tuple(row[cut:]) in ends for cut in cuts)


def test_perplexity_is_that_of_numpy():
    logits = np.asarray(CHAIN.apply(CHAIN.params, {}, DATA[0]), np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    taken = np.take_along_axis(shares, DATA[1][..., None], -1)
    found = perplexity(CHAIN, CHAIN.params, {}, *DATA, batch=16)
    assert found == pytest.approx(math.exp(-np.log(taken).mean()), rel=1e-5)
    assert accuracy(CHAIN, CHAIN.params, {}, *DATA, batch=16) == np.mean(
        logits.argmax(-1) == DATA[1]
    )


def test_perplexity_of_a_guess_and_of_nan():
    guess = jax.tree.map(jnp.zeros_like, CHAIN.params)
    assert perplexity(CHAIN, guess, {}, *DATA) == pytest.approx(VOCABULARY)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, CHAIN.params)
    assert perplexity(CHAIN, broken, {}, *DATA) == math.inf


@pytest.mark.parametrize("name", ["kl", "output_distance", "logit_mse", "agreement"])
def test_objectives_take_every_token_as_an_input(name):
    """As if each window were as many inputs."""
    logits, dense = (jax.random.normal(jax.random.key(n), (4, 5, 7)) for n in (0, 1))
    compare = {
        "kl": objectives.compare_distributions,
        "output_distance": objectives.compare_outputs,
        "logit_mse": objectives.compare_logits,
        "agreement": objectives.compare_decisions,
    }[name]
    whole, _ = compare(logits, dense)
    flat, _ = compare(logits.reshape(20, 7), dense.reshape(20, 7))
    np.testing.assert_allclose(whole, flat, rtol=1e-5)


def test_cross_entropy_takes_next_tokens():
    fitness, _ = objectives.compare_likelihood(
        CHAIN.apply(CHAIN.params, {}, DATA[0]), jnp.asarray(DATA[1])
    )
    assert math.exp(fitness) == pytest.approx(perplexity(CHAIN, CHAIN.params, {}, *DATA), rel=1e-5)


def test_a_population_is_scored_as_its_members(key):
    model = llama()
    inputs = sample_tokens(model, key, 8, LENGTH)
    objective = objectives.kl(model, inputs=inputs)
    score = jax.jit(lambda masks: objective(key, masks).fitness)
    masks = {
        name: jax.random.bernoulli(key, 0.6, (2, *model.params[name].shape))
        for name in model.layout.names
    }
    together = jax.jit(jax.vmap(score))(masks)
    for number, found in enumerate(together):
        alone = score({name: mask[number] for name, mask in masks.items()})
        np.testing.assert_allclose(found, alone, rtol=1e-4)


@pytest.mark.slow
def test_a_language_model_is_pruned_without_data():
    model = llama()
    data = np.asarray(sample_tokens(model, jax.random.key(9), 8, LENGTH))
    report = jp.prune(
        model,
        sparsity=0.5,
        evaluations=8,
        population=4,
        evaluation_data=(data, np.roll(data, -1, axis=1)),
    )
    assert report.settings["inputs"] == "sampled" and report.settings["repair"] == "distil"
    assert report.sparsity == pytest.approx(0.5, abs=1e-3)
    assert report.perplexity["pruned"] == pytest.approx(
        perplexity(model, report.params, report.buffers, data, np.roll(data, -1, axis=1)), rel=1e-5
    )
    assert "perplexity" in report.summary() and "synflow" not in report.baselines
    baseline = report.to_json()["baselines"]["wanda"]["repaired"]
    assert baseline["perplexity"] == report.baselines["wanda"].repaired.perplexity > 1


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((2, LENGTH)), "dtype float64"),
        (np.zeros((2, LENGTH + 1), int), "whole windows"),
        (np.full((2, LENGTH), VOCABULARY), "knows 0..6"),
    ],
)
def test_other_things_than_tokens_are_refused(tokens, message, tmp_path):
    np.save(tmp_path / "tokens.npy", tokens)
    with pytest.raises(ValueError, match=message):
        read_inputs(tmp_path / "tokens.npy", CHAIN.spec)
    with pytest.raises(ValueError, match=message):
        jp.prune(CHAIN, sparsity=0.5, inputs=tokens)


def test_files_of_windows_hold_the_next_tokens_too(tmp_path):
    windows = np.arange(LENGTH + 1)[None] % VOCABULARY
    np.savez(tmp_path / "windows.npz", tokens=windows)
    inputs, labels = read_evaluation_data(tmp_path / "windows.npz", CHAIN.spec)
    np.testing.assert_array_equal(inputs, windows[:, :-1])
    np.testing.assert_array_equal(labels, windows[:, 1:])


def test_logits_per_token_need_a_vocabulary():
    with pytest.raises(ValueError, match="vocabulary="):
        Model.from_fn(lambda w, x: x[..., None] @ w[:1], jnp.ones((2, 4)), (3,), name="loose")
