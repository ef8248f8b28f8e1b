"""Synthesised inputs are made once per model, key and number."""

import os
from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers import MODEL, inputs_for, small_model
from jax.tree_util import Partial

from jgaprune.driver import kept_inputs


@pytest.fixture
def made(monkeypatch, tmp_path):
    """How often inputs were made, in a cache of its own."""
    calls = []

    def synthesize(model, key, num):
        calls.append(num)
        return inputs_for(model, num, seed=len(calls))

    monkeypatch.setenv("JGAPRUNE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kept_inputs, "synthesize", synthesize)
    return calls


def test_the_same_are_made_once(made, key):
    first = kept_inputs.synthesized(MODEL, key, 4)
    assert np.array_equal(kept_inputs.synthesized(MODEL, key, 4), first)
    assert made == [4]


def test_another_model_key_or_number_is_made_anew(made, key):
    kept_inputs.synthesized(MODEL, key, 4)
    kept_inputs.synthesized(small_model(seed=1), key, 4)
    kept_inputs.synthesized(MODEL, jax.random.key(8), 4)
    kept_inputs.synthesized(MODEL, key, 5)
    kept_inputs.synthesized(MODEL._replace(apply=Partial(_halved, MODEL.apply)), key, 4)
    assert made == [4, 4, 4, 5, 4]


def _halved(apply, params, buffers, inputs):
    """Another network with the same weights."""
    return 0.5 * apply(params, buffers, inputs)


@pytest.mark.parametrize("damaged", [b"", b"not an array"])
def test_a_damaged_file_is_made_again(made, key, tmp_path, damaged):
    kept_inputs.synthesized(MODEL, key, 4)
    (file,) = (tmp_path / "inputs").iterdir()
    file.write_bytes(damaged)
    again = kept_inputs.synthesized(MODEL, key, 4)
    assert made == [4, 4]
    assert np.array_equal(kept_inputs.synthesized(MODEL, key, 4), again)


def test_a_cache_that_cannot_be_written_is_no_fault(made, key, monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("JGAPRUNE_CACHE_DIR", str(tmp_path / "taken"))
    assert kept_inputs.synthesized(MODEL, key, 4).shape == (4, 8, 8, 2)


def test_what_was_not_used_for_longest_goes(made, key, tmp_path, monkeypatch):
    for number in (4, 5):
        kept_inputs.synthesized(MODEL, key, number)
    files = list((tmp_path / "inputs").iterdir())
    for path in files:
        os.utime(path, (1, 1))
    kept_inputs.synthesized(MODEL, key, 4)  # used again
    room = sum(path.stat().st_size for path in files)
    monkeypatch.setattr(kept_inputs, "_MOST_BYTES", room)
    kept_inputs.synthesized(MODEL, key, 3)
    kept_inputs.synthesized(MODEL, key, 4)
    assert made == [4, 5, 3]
    kept_inputs.synthesized(MODEL, key, 5)
    assert made == [4, 5, 3, 5]


def test_a_network_without_norms_is_inverted(made, key, monkeypatch):
    monkeypatch.setattr(kept_inputs, "invert", lambda model, key, num: inputs_for(model, num))
    plain = MODEL._replace(spec=replace(MODEL.spec, norms=()))
    assert kept_inputs.synthesized(plain, key, 4).shape == (4, 8, 8, 2)
    assert made == []
