import pytest
from scipy.stats import binomtest

from xaibench.errors import InputError
from xaibench.metrics import wilson_interval


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
