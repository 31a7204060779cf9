"""Differences between two classifiers on the same samples: tests, intervals, and what many tests at once are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xaibench.comparison.results import McNemar, PairedFigure
from xaibench.errors import InputError
from xaibench.metrics import bootstrap_interval, calibration_error, wilson_interval
from xaibench.rng import SampleRng

__all__ = ["calibration_figure", "exact_p", "holm", "mcnemar", "paired_figure", "sign_flip_p"]

_ROUNDING = 1e-9
"""Differences below this come of the order in which numbers are added up."""
_BINS = 15
_ENUMERATED, _DRAWS = 12, 20_000


def mcnemar(what: Any, first: Tensor, second: Tensor) -> McNemar:
    """Compare which samples (n,), bool, each side gets right.

    >>> import torch
    >>> right = torch.tensor([True] * 6 + [False] * 2)
    >>> mcnemar("clean", right, torch.zeros(8, dtype=torch.bool)).p_value
    0.03125
    """
    n, only_first, only_second = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    hits = int(first.sum()), int(second.sum())
    return McNemar(
        what=what,
        accuracy=(hits[0] / n, hits[1] / n),
        interval=(wilson_interval(hits[0], n), wilson_interval(hits[1], n)),
        only_first=only_first,
        only_second=only_second,
        p_value=exact_p(only_first, only_second),
    )


def exact_p(only_first: int, only_second: int) -> float:
    """How likely samples on which two sides differ fall so unevenly, or more so, if both were as good: two-sided."""
    from scipy.stats import binomtest

    differing = only_first + only_second
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0


def sign_flip_p(differences: Tensor, *, seed: int = 0) -> float:
    """How likely a mean as far from zero is if each difference (n,) had either sign by chance: two-sided.

    Fisher, *The design of experiments* (1935), and Pitman, *Significance tests which may be applied to samples from any
    populations* (1937). All signs are gone through for up to 12 differences that are not zero, 20,000 random draws for
    more; the least value is then 1 in 20,001. Of differences of one size it is McNemar's test. It asks about the mean,
    which the figure and its interval are, where a test of ranks can point the other way on skewed differences.
    """
    left = differences.double()
    left = left[left.abs() > _ROUNDING]
    n = len(left)
    if not n:
        return 1.0
    if n <= _ENUMERATED:
        signs = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1
    else:
        words = SampleRng(torch.arange(_DRAWS), seed, "sign flips").bits((-(-n // 64),))
        signs = ((words[:, :, None] >> torch.arange(64)) & 1).flatten(1)[:, :n]
    sums = (2 * signs.double() - 1) @ left
    reached = int((sums.abs() >= left.sum().abs() - _ROUNDING).sum())
    return reached / len(sums) if n <= _ENUMERATED else (reached + 1) / (len(sums) + 1)


def paired_figure(
    group: Any, name: str, first: Tensor, second: Tensor, *, better: Any, method: str | None = None, seed: int = 0
) -> PairedFigure | None:
    """A figure of the same samples (n,) on both sides, with the interval and the test of its mean difference.

    Samples that lack it on either side, by NaN, are left out on both. Figures that are 0 or 1 take McNemar's exact
    test, others the sign-flip test of the mean. None where fewer than two samples are left.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(f"expected a figure for each sample, got {tuple(first.shape)} and {tuple(second.shape)}")
    known = ~(first.isnan() | second.isnan())
    one, other = first[known].double(), second[known].double()
    if len(one) < 2:
        return None
    shares = bool(((one == 0) | (one == 1)).all() and ((other == 0) | (other == 1)).all())
    difference = other - one
    if shares:
        p_value = exact_p(int((one > other).sum()), int((other > one).sum()))
    else:
        p_value = sign_flip_p(difference, seed=seed)
    return PairedFigure(
        group=group,
        name=name,
        method=method,
        better=better,
        n=len(one),
        mean=(float(one.mean()), float(other.mean())),
        interval=(bootstrap_interval(one, seed=seed), bootstrap_interval(other, seed=seed)),
        difference=float(difference.mean()),
        difference_interval=bootstrap_interval(difference, seed=seed),
        test="mcnemar" if shares else "sign_flip",
        p_value=p_value,
    )


def calibration_figure(first: Tensor, second: Tensor, labels: Tensor) -> PairedFigure | None:
    """Expected calibration errors of logits (n, classes), as a description: without an interval, and without a test.

    On n samples the error of a perfectly calibrated model is above zero, by more the more bins its confidence falls
    into, and of samples drawn again it is larger still (Roelofs et al., *Mitigating bias in calibration error
    estimation*, AISTATS 2022). So two calibrated models differ in it, bootstrap intervals of it miss it, and signs
    cannot be flipped, as it is no mean over samples. Log loss and Brier score are tested in its place.
    """
    if len(labels) < 2:
        return None
    one, other = (calibration_error(logits.double().softmax(dim=1), labels, _BINS) for logits in (first, second))
    return PairedFigure(
        group="calibration",
        name="calibration_error",
        better="lower",
        n=len(labels),
        mean=(one, other),
        difference=other - one,
        difference_interval=None,
        test=None,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being many, in their order: the chance of any false finding stays below the level.

    Holm, *A simple sequentially rejective multiple test procedure* (Scandinavian Journal of Statistics 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    found, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        found[place] = least
    return found
