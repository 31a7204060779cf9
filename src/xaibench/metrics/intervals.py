"""Confidence intervals for proportions."""

from __future__ import annotations

import math
from statistics import NormalDist

from xaibench.errors import InputError

__all__ = ["wilson_interval"]


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval (low, high) for a proportion of which ``successes`` of ``n`` trials were seen.

    Wilson, *Probable inference, the law of succession, and statistical inference* (JASA 1927): it keeps its coverage
    near 0 and 1, where accuracies live and the normal interval collapses.

    >>> low, high = wilson_interval(98, 100)
    >>> round(low, 4), round(high, 4)
    (0.93, 0.9945)
    """
    if not 0 <= successes <= n or n < 1:
        raise InputError(f"expected 0 <= successes <= n with n >= 1, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise InputError(f"expected `confidence` between 0 and 1, got {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high
