"""Confidence intervals for proportions and means."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.rng import derive_seed

__all__ = ["bootstrap_interval", "bootstrap_means", "wilson_interval"]


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


def bootstrap_means(values: Tensor, *, resamples: int = 1000, seed: int = 0) -> Tensor:
    """Means (resamples, ...), float64, of values (n, ...) over samples drawn again with replacement.

    All columns share the draws, so that they can be compared. NaN counts as missing; a draw without any number is NaN.
    Raises `InputError` for no samples.
    """
    if not len(values) or resamples < 1:
        raise InputError(f"expected samples and `resamples` >= 1, got {len(values)} and {resamples}")
    generator = torch.Generator().manual_seed(derive_seed(seed, "bootstrap"))
    draws = torch.randint(len(values), (resamples, len(values)), generator=generator)
    # How often each sample is drawn, so that means are products of matrices.
    counts = torch.zeros(resamples, len(values), dtype=torch.float64).scatter_add_(
        1, draws, torch.ones(draws.shape, dtype=torch.float64)
    )
    flat = values.detach().cpu().double().flatten(1) if values.ndim > 1 else values.detach().cpu().double()[:, None]
    known = ~flat.isnan()
    means = (counts @ flat.nan_to_num(0.0)) / (counts @ known.double())
    return means.view(resamples, *values.shape[1:])


def bootstrap_interval(
    values: Tensor, confidence: float = 0.95, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval (low, high) for the mean of values (n,), by drawing samples again; NaN counts as missing.

    Efron, *Bootstrap methods: another look at the jackknife* (Annals of Statistics 1979). For few samples, percentiles
    lie as much further out as Student's distribution says (Hesterberg, *What teachers should know about the bootstrap*,
    The American Statistician 2015). One sample has no interval: both ends are NaN.

    >>> low, high = bootstrap_interval(torch.arange(100.0))
    >>> 43 < low < 45 and 54 < high < 56
    True
    """
    if not 0 < confidence < 1:
        raise InputError(f"expected `confidence` between 0 and 1, got {confidence}")
    known = int((~values.isnan()).sum())
    if known < 2:
        return math.nan, math.nan
    tail = _expanded((1 - confidence) / 2, known)
    ends = bootstrap_means(values, resamples=resamples, seed=seed).nanquantile(
        torch.tensor([tail, 1 - tail], dtype=torch.float64)
    )
    return float(ends[0]), float(ends[1])


def _expanded(tail: float, n: int) -> float:
    """The tail of the normal distribution beyond which as much of Student's lies as ``tail``, for n samples."""
    from scipy.stats import norm, t

    return float(norm.sf(math.sqrt(n / (n - 1)) * t.isf(tail, n - 1)))
