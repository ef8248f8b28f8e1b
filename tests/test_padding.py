"""Padded windows: what stands behind them, and everything that leaves it out."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jgaprune as jp
from jgaprune import objectives
from jgaprune.inputs.files import read_evaluation_data, read_inputs
from jgaprune.masks import apply_masks
from jgaprune.model import PADDING, token_faults
from jgaprune.report import accuracy, perplexity
from jgaprune.training import imitation

VOCABULARY, LENGTH, WHOLE = 11, 5, 8
SIZES = {"dim": 8, "num_heads": 2, "hidden": 12, "vocabulary": VOCABULARY}
KINDS = {
    "bert": {"positions": WHOLE, "num_classes": 3},
    "bert of tokens": {"positions": WHOLE, "num_classes": 3, "head": "tokens"},
    "gpt2": {"positions": WHOLE},
    "llama": {"num_kv_heads": 1},
}
SHORT = np.random.RandomState(0).randint(0, VOCABULARY, (6, LENGTH)).astype(np.int32)
PADDED = np.pad(SHORT, ((0, 0), (0, WHOLE - LENGTH)), constant_values=PADDING)


@cache
def model_of(kind, context):
    arch = kind.split()[0]
    return jp.converters.untrained(arch, num_layers=1, context=context, **SIZES, **KINDS[kind])


def said_by(model, tokens):
    return np.asarray(jax.jit(model.apply)(model.params, model.buffers, tokens))


def close(one, other, tolerance=2e-5):
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_window_is_the_short_one(kind):
    padded = said_by(model_of(kind, WHOLE), PADDED)
    short = said_by(model_of(kind, LENGTH), SHORT)
    assert np.abs(short).max() > 0.1
    close(padded[:, :LENGTH] if padded.ndim == 3 else padded, short)


@pytest.mark.parametrize("kind", ["bert", "bert of tokens"])
def test_encoders_take_padding_anywhere(kind):
    """A hole is not seen: what two windows have in it makes no difference to the others."""
    tokens, others = PADDED.copy(), PADDED.copy()
    tokens[:, 2] = others[:, 2] = PADDING
    others[:, 3] = (others[:, 3] + 1) % VOCABULARY
    model = model_of(kind, WHOLE)
    assert not np.allclose(said_by(model, tokens), said_by(model, PADDED), atol=1e-3)
    assert not np.allclose(said_by(model, tokens), said_by(model, others), atol=1e-3)


@cache
def both():
    """The same language model on windows of both lengths, with masks of half its weights."""
    short, whole = model_of("gpt2", LENGTH), model_of("gpt2", WHOLE)
    keys = jax.random.split(jax.random.key(0), len(short.layout.names))
    masks = {
        name: jax.random.bernoulli(key, 0.5, short.params[name].shape)
        for name, key in zip(short.layout.names, keys, strict=True)
    }
    return (short, jnp.asarray(SHORT)), (whole, jnp.asarray(PADDED)), masks


LABEL_FREE = {
    "agreement": objectives.agreement,
    "feature_distance": objectives.feature_distance,
    "kl": objectives.kl,
    "kl of few": lambda model, **rest: objectives.kl(model, top=3, **rest),
    "logit_cosine": objectives.logit_cosine,
    "logit_mse": objectives.logit_mse,
    "output_distance": objectives.output_distance,
    "reverse_kl": objectives.reverse_kl,
    "total_variation": objectives.total_variation,
}


@pytest.mark.parametrize("name", LABEL_FREE)
def test_objectives_look_at_no_padding(name):
    *cases, masks = both()
    short, padded = (
        float(jax.jit(LABEL_FREE[name](model, inputs=inputs))(None, masks).fitness)
        for model, inputs in cases
    )
    assert short > 1e-3
    close(padded, short, 1e-4)


@pytest.mark.slow
def test_labels_of_padding_count_for_nothing():
    (short, tokens), (whole, padded), masks = both()
    labels = np.roll(SHORT, -1, axis=1)
    none = np.pad(labels, ((0, 0), (0, WHOLE - LENGTH)), constant_values=PADDING)
    one = objectives.cross_entropy(short, labels, inputs=tokens)(None, masks).fitness
    close(objectives.cross_entropy(whole, none, inputs=padded)(None, masks).fitness, one, 1e-4)
    for measure in (accuracy, perplexity):
        expected = measure(short, short.params, short.buffers, tokens, labels)
        close(measure(whole, whole.params, whole.buffers, padded, none, batch=4), expected, 1e-4)


@pytest.mark.slow
def test_reconstruction_fits_no_padding():
    *cases, masks = both()
    fitted = []
    for model, inputs in cases:
        repair = jp.repair.reconstruct(model, inputs)
        fitted.append(jax.jit(repair.fit)(apply_masks(model.params, masks), model.buffers)[1])
    for name, leaf in fitted[0].items():
        close(fitted[1][name], leaf, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("score", [jp.saliency.wanda, jp.saliency.obs])
def test_scores_see_no_padding(score):
    *cases, _ = both()
    short, padded = (score(model, inputs, 0.5) for model, inputs in cases)
    for name, scores in short.items():
        close(padded[name], scores, 1e-3)


def test_training_looks_at_no_padding():
    *cases, masks = both()
    short, padded = (
        float(imitation(model)(apply_masks(model.params, masks), inputs)) for model, inputs in cases
    )
    close(padded, short, 1e-4)


@pytest.mark.parametrize("ids", ["tokens", "input_ids"])
def test_an_attention_mask_becomes_padding(ids, tmp_path):
    mask = (PADDED != PADDING).astype(np.int64)
    tokens = np.where(mask, PADDED, 7).astype(np.uint16)
    path = tmp_path / "text.npz"
    np.savez(path, **{ids: tokens, "attention_mask": mask, "token_type_ids": 0 * mask})
    found = read_inputs(path, model_of("gpt2", WHOLE).spec)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, PADDED)
    inputs, labels = read_evaluation_data(path, model_of("gpt2", WHOLE - 1).spec)
    np.testing.assert_array_equal(inputs, PADDED[:, :-1])
    np.testing.assert_array_equal(labels, PADDED[:, 1:])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"attention_mask": np.ones((6, 3))}, "attention_mask has shape .6, 3."),
        ({"attention_mask": np.full(PADDED.shape, 2)}, "values .2.; expected"),
        ({"token_type_ids": np.ones(PADDED.shape)}, "only inputs of a single segment"),
    ],
)
def test_impossible_masks_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "text.npz", input_ids=np.abs(PADDED), **arrays)
    with pytest.raises(ValueError, match=message):
        read_inputs(tmp_path / "text.npz", model_of("bert", WHOLE).spec)


def test_impossible_padding_is_refused():
    gpt2, bert = model_of("gpt2", WHOLE).spec, model_of("bert", WHOLE).spec
    assert not token_faults(PADDED, gpt2) and not token_faults(PADDED[:, ::-1], bert)
    assert "stands behind padding" in token_faults(PADDED[:, ::-1], gpt2)[0]
    assert "6 inputs are padding alone" in token_faults(0 * PADDED + PADDING, bert)[0]
    assert "-2..10" in token_faults(np.where(PADDED == PADDING, -2, PADDED), gpt2)[0]
    plain = model_of("gpt2", WHOLE).spec.__class__("plain", (), (WHOLE,), 11, vocabulary=11)
    assert "-1..10; plain knows 0..10" in token_faults(PADDED, plain)[0]
