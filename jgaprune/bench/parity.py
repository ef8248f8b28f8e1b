"""Whether two implementations of a network give the same logits, and whether that means anything.

Dead networks agree with everything: logits near zero, or the same for most inputs, prove nothing
and are called inconclusive. At padding, logits mean nothing and are left out.
"""

import math
from dataclasses import dataclass

import numpy as np

from jgaprune.model import PADDING

PARITY, DIFFERENCE, INCONCLUSIVE = "parity", "difference", "inconclusive"
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}
"""Largest difference, in parts of the largest logit, that rounding in our dtype explains."""
LEAST_LOGIT = 0.1
_LEAST_VARIATION = 1e-4
"""In parts of the largest logit, between neighbouring inputs: far beyond all tolerances."""


@dataclass(frozen=True)
class Parity:
    """A comparison.

    Attributes:
      verdict: "parity", "difference" or "inconclusive".
      reason: why, in words; empty for parity.
      num_inputs: how many inputs were compared.
      max_delta: largest difference of two logits; NaN where the shapes differ.
      max_reference: largest logit of the reference, by absolute value.
      relative: one by the other.
      variation: by how much the reference's logits differ from one input to the next, the median
        in parts of the largest.
      agreement: share of the outputs, 0..1, whose largest logit is the same. Where `relative`
        is within the tolerance, only ties can differ: logits twice the tolerance apart.
      tolerance: of `relative`.
    """

    verdict: str
    reason: str
    num_inputs: int
    max_delta: float
    max_reference: float
    relative: float
    variation: float
    agreement: float
    tolerance: float

    @property
    def is_whole(self) -> bool:
        """Whether there is parity without a tie that was broken differently."""
        return self.verdict == PARITY and self.agreement == 1


def compare(
    ours: np.ndarray,
    reference: np.ndarray,
    inputs: np.ndarray | None = None,
    tolerance: float | None = None,
) -> Parity:
    """Compares logits `[N, ..., C]` with those of the reference.

    Args:
      ours: in the dtype that they were computed in.
      reference: should be computed in float64.
      inputs: what both were given: of tokens `[N, L]` with logits `[N, L, C]`, negative ones are
        padding and left out.
      tolerance: of the relative difference; None for that of our dtype.

    >>> logits = np.array([[1.0, 2.0], [4.0, 3.0]], np.float32)
    >>> compare(logits, logits.astype(np.float64)).verdict
    'parity'
    """
    tolerance = TOLERANCES[str(ours.dtype)] if tolerance is None else tolerance
    exact = reference.astype(np.float64)
    real = _real_outputs(reference, inputs)
    largest = float(np.max(np.abs(exact[real]), initial=0.0))
    if ours.shape != reference.shape:
        reason = f"our logits are {list(ours.shape)}, the reference's {list(reference.shape)}"
        return _differing(reason, len(reference), largest, tolerance)
    delta = float(np.max(np.abs(ours.astype(np.float64) - exact)[real], initial=0.0))
    relative, variation = (
        found / largest if largest else math.inf for found in (delta, _variation(exact, real))
    )
    agreement = float(np.mean((ours.argmax(axis=-1) == exact.argmax(axis=-1))[real]))
    verdict, reason = _judge(largest, relative, variation, tolerance)
    return Parity(
        verdict, reason, len(reference), delta, largest, relative, variation, agreement, tolerance
    )


def _real_outputs(logits: np.ndarray, inputs: np.ndarray | None) -> np.ndarray:
    """Which outputs are to be compared, `bool [N, ...]`."""
    is_of_tokens = inputs is not None and inputs.dtype.kind == "i"
    if inputs is None or not is_of_tokens or inputs.shape != logits.shape[:-1]:
        return np.ones(logits.shape[:-1], bool)
    return np.not_equal(inputs, PADDING)


def _variation(logits: np.ndarray, real: np.ndarray) -> float:
    """The median change from an input to the next, which alone may be a copy of it."""
    with np.errstate(invalid="ignore"):  # Infinite logits are judged by themselves.
        changes = np.abs(np.diff(logits, axis=0)).max(axis=-1, initial=0.0)
    changes = np.where(real[1:] & real[:-1], changes, 0.0)
    return float(np.median(changes.reshape(len(changes), -1).max(axis=1))) if len(changes) else 0.0


def _judge(largest: float, relative: float, variation: float, tolerance: float) -> tuple[str, str]:
    if math.isnan(largest) or math.isinf(largest):
        return INCONCLUSIVE, "the reference's logits are NaN or infinite"
    if largest <= LEAST_LOGIT:
        return INCONCLUSIVE, f"no logit of the reference is beyond {LEAST_LOGIT}: it is dead"
    if variation <= _LEAST_VARIATION:
        return INCONCLUSIVE, "the reference's logits are the same for most inputs"
    if not relative <= tolerance:  # NaN is a difference, too.
        return DIFFERENCE, f"{relative:.1e} of the largest logit is more than {tolerance:.0e}"
    return PARITY, ""


def _differing(reason: str, count: int, largest: float, tolerance: float) -> Parity:
    nan = math.nan
    return Parity(DIFFERENCE, reason, count, nan, largest, nan, nan, 0.0, tolerance)
