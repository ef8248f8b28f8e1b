"""Logits beside those of a reference: parity, a difference, or nothing proved."""

import re

import numpy as np
import pytest

from jgaprune.bench.parity import compare


def logits(scale=1.0):
    return scale * np.random.RandomState(0).standard_normal((6, 5))


def mostly_constant():
    """Of six inputs, one differs."""
    exact = np.repeat(logits()[:1], 6, axis=0)
    exact[5] += 1
    return exact.astype(np.float32), exact


MOSTLY_CONSTANT = mostly_constant()
COMPARISONS = {
    "rounding": (logits().astype(np.float32), logits(), "parity", ""),
    "a small difference": (logits().astype(np.float32) * 1.001, logits(), "difference", "1.0e-03"),
    "float32 in float64": (logits().astype(np.float32) * np.float64(1), logits(), "difference", ""),
    "not a number": (np.full((6, 5), np.nan, np.float32), logits(), "difference", "nan"),
    "other shapes": (logits().astype(np.float32)[:, :4], logits(), "difference", r"\[6, 4\]"),
    "near zero": (logits(0.01).astype(np.float32), logits(0.01), "inconclusive", "dead"),
    "all zero": (np.zeros((6, 5), np.float32), np.zeros((6, 5)), "inconclusive", "dead"),
    "mostly constant": (*MOSTLY_CONSTANT, "inconclusive", "same for most"),
    "constant": (np.ones((6, 5), np.float32), np.ones((6, 5)), "inconclusive", "same for most"),
    "overflow": (np.ones((6, 5), np.float32), np.full((6, 5), np.inf), "inconclusive", "infinite"),
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_verdicts(name):
    ours, reference, verdict, words = COMPARISONS[name]
    found = compare(ours, reference)
    assert found.verdict == verdict
    assert re.search(words, found.reason), found.reason


def test_the_numbers_are_those_of_numpy():
    ours = np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)
    found = compare(ours, np.array([[1.0, 2.5], [3.0, 4.0]]))
    assert (found.max_delta, found.max_reference, found.relative) == (3.0, 4.0, 0.75)
    assert (found.agreement, found.num_inputs, found.tolerance) == (0.5, 2, 1e-5)


def test_copies_among_the_inputs_are_no_dead_network():
    exact = logits()
    exact[3] = exact[2]
    assert compare(exact.astype(np.float32), exact).is_whole


def test_padding_is_not_compared():
    tokens = np.array([[3, 1, -1], [2, -1, -1], [1, 2, 3]], np.int32)
    exact = np.random.RandomState(0).standard_normal((3, 3, 5))
    ours = exact.astype(np.float32)
    ours[tokens == -1] = np.nan
    assert compare(ours, exact, tokens).is_whole
    ours[1, 0] += 1
    assert compare(ours, exact, tokens).verdict == "difference"
    assert compare(ours[:, 0], exact[:, 0], tokens).verdict == "difference"


def test_a_given_tolerance_is_used():
    exact = logits()
    assert compare(exact.astype(np.float32) * 1.001, exact, tolerance=0.01).is_whole


def test_a_tie_that_is_broken_differently_is_parity_but_not_whole():
    exact = logits()
    exact[0, :2] = 5, 5 + 1e-9
    ours = exact.astype(np.float32)
    assert ours[0].argmax() == 0
    found = compare(ours, exact)
    assert (found.verdict, found.is_whole) == ("parity", False)
