import math

import pytest
import torch
from scipy.stats import binomtest

from xaibench.errors import InputError
from xaibench.metrics import bootstrap_interval, wilson_interval
from xaibench.metrics.intervals import bootstrap_means


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (98, 100), (100, 100), (5, 7), (4321, 10000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_agrees_with_scipy(successes: int, n: int, confidence: float) -> None:
    reference = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_ends_are_exact() -> None:
    assert wilson_interval(0, 20)[0] == 0.0
    assert wilson_interval(20, 20)[1] == 1.0


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(InputError, match="expected 0 <= successes <= n"):
        wilson_interval(successes, n)


@pytest.mark.parametrize(("confidence", "width"), [(0.95, 1.96), (0.8, 1.2816)])
def test_bootstrap_intervals_are_as_wide_as_the_standard_error_says(confidence: float, width: float) -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    low, high = bootstrap_interval(values, confidence, resamples=4000)
    error = float(values.std() / 20)
    assert low == pytest.approx(float(values.mean()) - width * error, abs=0.2 * error)
    assert high == pytest.approx(float(values.mean()) + width * error, abs=0.2 * error)
    assert bootstrap_interval(values, confidence, seed=1) != (low, high)


def test_what_is_missing_counts_for_nothing() -> None:
    values = torch.randn(50, 2, generator=torch.Generator().manual_seed(1)).double()
    values[::2, 1] = torch.nan
    means = bootstrap_means(values, resamples=3000)
    assert means.shape == (3000, 2)
    torch.testing.assert_close(means.mean(dim=0), values.nanmean(dim=0), atol=0.02, rtol=0)
    expected = values.std(dim=0)[0] / 50**0.5, values[1::2, 1].std() / 25**0.5
    assert means.std(dim=0).tolist() == pytest.approx([float(value) for value in expected], rel=0.1)


def test_columns_share_the_draws() -> None:
    values = torch.randn(30, generator=torch.Generator().manual_seed(2)).double()
    means = bootstrap_means(torch.stack([values, values + 1], dim=1))
    torch.testing.assert_close(means[:, 1] - means[:, 0], torch.ones(1000, dtype=torch.float64))
    with pytest.raises(InputError, match="expected samples and `resamples` >= 1, got 0 and 1000"):
        bootstrap_means(torch.zeros(0))
    with pytest.raises(InputError, match="expected `confidence` between 0 and 1, got 1"):
        bootstrap_interval(values, 1.0)


def test_few_samples_have_wider_intervals_and_one_has_none() -> None:
    values = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0)).double()
    intervals = [bootstrap_interval(row, resamples=400) for row in values]
    covered = sum(low <= 0 <= high for low, high in intervals) / len(intervals)
    assert 0.915 < covered < 0.97  # plain percentiles cover 0.88
    for single in (torch.tensor([0.7]), torch.tensor([0.7, torch.nan])):
        assert all(map(math.isnan, bootstrap_interval(single)))
