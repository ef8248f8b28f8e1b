"""Whether two implementations of a network give the same logits, and whether that means anything.

Dead networks agree with everything: logits near zero, or the same for every input, prove nothing
and are called inconclusive.
"""

import math
from dataclasses import dataclass

import numpy as np

PARITY, DIFFERENCE, INCONCLUSIVE = "parity", "difference", "inconclusive"
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}
"""Largest difference, in parts of the largest logit, that rounding in our dtype explains."""
LEAST_LOGIT = 0.1
_LEAST_VARIATION = 1e-6


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
      agreement: share of the outputs, 0..1, whose largest logit is the same. Where `relative`
        is within the tolerance, only ties can differ.
      tolerance: of `relative`.
    """

    verdict: str
    reason: str
    num_inputs: int
    max_delta: float
    max_reference: float
    relative: float
    agreement: float
    tolerance: float


def compare(ours: np.ndarray, reference: np.ndarray) -> Parity:
    """Compares logits `[N, ..., C]` with those of the reference.

    The tolerance is that of our dtype; the reference should be computed in float64.

    >>> logits = np.array([[1.0, 2.0], [4.0, 3.0]], np.float32)
    >>> compare(logits, logits.astype(np.float64)).verdict
    'parity'
    """
    tolerance = TOLERANCES[str(ours.dtype)]
    exact = reference.astype(np.float64)
    largest = float(np.max(np.abs(exact), initial=0.0))
    if ours.shape != reference.shape:
        reason = f"our logits are {list(ours.shape)}, the reference's {list(reference.shape)}"
        return _differing(reason, len(reference), largest, tolerance)
    delta = float(np.max(np.abs(ours.astype(np.float64) - exact), initial=0.0))
    relative = delta / largest if largest else math.inf
    agreement = float(np.mean(ours.argmax(axis=-1) == exact.argmax(axis=-1)))
    verdict, reason = _judge(exact, largest, relative, tolerance)
    return Parity(verdict, reason, len(reference), delta, largest, relative, agreement, tolerance)


def _judge(
    reference: np.ndarray, largest: float, relative: float, tolerance: float
) -> tuple[str, str]:
    if math.isnan(largest) or math.isinf(largest):
        return INCONCLUSIVE, "the reference's logits are NaN or infinite"
    if largest <= LEAST_LOGIT:
        return INCONCLUSIVE, f"no logit of the reference is beyond {LEAST_LOGIT}: it is dead"
    spread = float(np.max(np.ptp(reference, axis=0)))
    if spread <= _LEAST_VARIATION * largest:
        return INCONCLUSIVE, "the reference's logits are the same for all inputs"
    if not relative <= tolerance:  # NaN is a difference, too.
        return DIFFERENCE, f"{relative:.1e} of the largest logit is more than {tolerance:.0e}"
    return PARITY, ""


def _differing(reason: str, count: int, largest: float, tolerance: float) -> Parity:
    return Parity(DIFFERENCE, reason, count, math.nan, largest, math.nan, 0.0, tolerance)
